//! Counting in Redis: one script call per check, so that no other client can come between check and consume.

use redis::{Client, Script};

use crate::link::{Link, LinkError};
use crate::{Decision, Key, RouteLimit};

pub(crate) struct Redis {
    link: Link,
    script: Script,
    time: Time,
}

/// Which clock judges.
enum Time {
    /// The server's: the same for all replicas, whatever their own clocks say.
    Server,
    /// A test's, to compare decisions with those in process.
    #[cfg(test)]
    Given(quire_clock::World),
}

impl Redis {
    pub(crate) async fn connect(url: &str) -> Result<Self, LinkError> {
        let client = Client::open(url).map_err(|_| LinkError)?;
        let link = Link::connect(client, "rate limits").await;
        Ok(Self { link, script: Script::new(include_str!("gcra.lua")), time: Time::Server })
    }

    /// `None` if Redis does not answer in time.
    pub(crate) async fn check(&self, route: &RouteLimit, key: &Key) -> Option<Decision> {
        let mut invocation = self.script.prepare_invoke();
        invocation.arg(self.now());
        let key = hex::encode(key);
        for policy in &route.policies {
            // The braces keep the keys of one check in one slot of a Redis cluster. Rate and window are part
            // of the name, so that a changed setting starts anew.
            let (quota, window) = (policy.quota, policy.window.as_secs());
            invocation.key(format!("quire:limit:{{{key}}}:{}:{quota}:{window}", policy.name));
            invocation.arg(policy.interval_micros()).arg(policy.tolerance_micros());
        }
        // invoke_async calls EVALSHA and loads the script when Redis does not know it.
        let ask = |mut connection| async move { invocation.invoke_async(&mut connection).await };
        let answer: Vec<i64> = self.link.ask(ask).await?;
        let (allowed, resets) = answer.split_first()?;
        let resets: Vec<u64> = resets.iter().map(|reset| u64::try_from(*reset).unwrap_or(0)).collect();
        Some(Decision::of(route, *allowed == 1, &resets))
    }

    fn now(&self) -> i64 {
        match &self.time {
            Time::Server => 0,
            #[cfg(test)]
            Time::Given(world) => world.now().unix_micros(),
        }
    }

    #[cfg(test)]
    pub(crate) fn judged_by(mut self, world: quire_clock::World) -> Self {
        self.time = Time::Given(world);
        self
    }

    #[cfg(test)]
    pub(crate) fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}
