//! The limiter through its public door, in process and on Redis.

mod alike;
mod counting;
mod denials;
mod explain;
mod give_back;
mod metrics;
mod outage;
mod proxy;
mod seen;
mod shadow;
mod upstream;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quire_clock::{Clock, ManualClock, Timestamp, World};

use crate::{By, Keys, Limiter, RouteLimit, redis::Redis};

const START: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

fn world() -> (Arc<ManualClock>, World) {
    let clock = ManualClock::at(START);
    (clock.clone(), World::with_clock(clock))
}

/// A clock that can also be turned back.
struct Hands(AtomicI64);

impl Hands {
    fn turn(&self, to: Timestamp) {
        self.0.store(to.unix_micros(), Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.load(Ordering::SeqCst))
    }
}

/// A route that counts by address unless its text says otherwise.
fn route(name: &str, text: &str) -> RouteLimit {
    let all = [By::Address, By::Session, By::User, By::Mailbox, By::Everybody];
    RouteLimit::parse(name, text, By::Address, &all).unwrap()
}

fn address(key: &str) -> Keys {
    Keys::default().address(key)
}

/// Redis judged by a test's clock. A busy machine must not turn a test over to the local count.
async fn patient_redis(url: &str, judge: &World) -> Redis {
    let mut redis = Redis::connect(url).await.unwrap().judged_by(judge.clone());
    redis.link().with_times(Duration::from_secs(10), Duration::ZERO);
    redis
}

/// A limiter on Redis whose keys no other run shares, judged by the given world's clock.
async fn on_redis(url: &str, world: &World) -> Limiter {
    Limiter::on(patient_redis(url, world).await, world.clone(), world.bytes())
}

async fn both(world: &World) -> Vec<Limiter> {
    let mut limiters = vec![Limiter::memory(world.clone())];
    if let Some(url) = quire_testkit::redis() {
        limiters.push(on_redis(url, world).await);
    }
    limiters
}
