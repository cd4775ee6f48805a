//! Upstreams: the same happens in one process and in Redis, and Redis may be away, slow or empty.

use std::sync::atomic::Ordering;

use quire_testkit::PrivateRedis;

use super::*;
use crate::tests::proxy::Proxy;
use crate::upstream::{Answer, Bounds, Breaker, Pass, Upstream, Upstreams};

const ASKED: Duration = Duration::from_secs(30);
const TRYING: Duration = Duration::from_secs(1);
const TRIAL: Duration = Duration::from_secs(90);
const UNBOUND: Bounds = Bounds { calls_per_minute: 0, cost_per_minute: 0, trial: TRIAL };
const BUSY: Answer = Answer::Busy { after: Some(ASKED) };

/// Two processes each: alone they are one, as they have nothing in common.
async fn fleets(clock: &World, bounds: Bounds) -> Vec<[Arc<Upstream>; 2]> {
    let alone = Upstreams::alone(clock.clone()).judged_by(clock).open("model", bounds);
    let mut fleets = vec![[alone.clone(), alone]];
    if let Some(url) = quire_testkit::redis() {
        // Test processes share the server.
        let name = clock.id();
        let (one, two) = (on_redis(url, clock).await, on_redis(url, clock).await);
        fleets.push([one.open(&name, bounds), two.open(&name, bounds)]);
    }
    fleets
}

async fn on_redis(url: &str, clock: &World) -> Upstreams {
    Upstreams::connect(url, clock.clone(), Duration::from_secs(10)).await.unwrap().judged_by(clock)
}

async fn passes(upstream: &Arc<Upstream>, cost: i64) -> Pass {
    upstream.enter(cost).await.ok().unwrap()
}

/// How long a call of that cost must wait.
async fn waits(upstream: &Arc<Upstream>, cost: i64) -> Duration {
    match upstream.enter(cost).await {
        Ok(_) => Duration::ZERO,
        Err(wait) => wait,
    }
}

async fn told(upstream: &Arc<Upstream>, answer: Answer) {
    passes(upstream, 1).await.answered(answer).await;
}

#[tokio::test]
async fn a_busy_upstream_is_asked_once_in_the_time_it_wants() {
    let (clock, world) = world();
    for fleet in fleets(&world, UNBOUND).await {
        let (mut calls, mut refused) = (0, 0);
        // Ten jobs in each of two processes, looking every five seconds for four minutes; for two of them it is busy.
        for second in (0..240).step_by(5) {
            for upstream in fleet.iter().cycle().take(20) {
                let Ok(mut pass) = upstream.enter(10).await else { continue };
                calls += 1;
                let busy = second < 120;
                pass.answered(if busy { BUSY } else { Answer::Served }).await;
                refused += usize::from(busy);
            }
            clock.advance(Duration::from_secs(5));
        }
        assert_eq!(refused, 4, "at 0, 30, 60 and 90 seconds");
        assert_eq!(calls - refused, 24 * 20);
    }
}

#[tokio::test]
async fn one_tries_and_the_others_wait_for_it() {
    let (clock, world) = world();
    for [one, two] in fleets(&world, UNBOUND).await {
        told(&one, BUSY).await;
        assert_eq!((waits(&one, 1).await, waits(&two, 1).await), (ASKED, ASKED));
        clock.advance(ASKED);
        let trying = passes(&two, 1).await;
        assert_eq!((waits(&one, 1).await, waits(&two, 1).await), (TRYING, TRYING));
        assert_eq!((one.breaker(), two.breaker()), (Breaker::Trying, Breaker::Trying));
        // It found no answer, so another one tries.
        trying.settle(1).await;
        let mut trying = passes(&one, 1).await;
        assert_eq!(waits(&two, 1).await, TRYING);
        trying.answered(Answer::Served).await;
        assert_eq!((waits(&one, 1).await, waits(&two, 1).await), (Duration::ZERO, Duration::ZERO));
        assert_eq!((one.breaker(), two.breaker()), (Breaker::Closed, Breaker::Closed));
    }
}

#[tokio::test]
async fn one_that_tries_and_dies_does_not_lock_the_others_out_for_ever() {
    let (clock, world) = world();
    for [one, two] in fleets(&world, UNBOUND).await {
        told(&one, BUSY).await;
        clock.advance(ASKED);
        let dead = passes(&one, 1).await;
        clock.advance(TRIAL - Duration::from_millis(1));
        assert_eq!(waits(&two, 1).await, Duration::from_millis(1));
        clock.advance(Duration::from_millis(1));
        let mut trying = passes(&two, 1).await;
        // It was only slow. What it says is too late to end what another one tries.
        dead.settle(1).await;
        assert_eq!(waits(&one, 1).await, TRYING);
        trying.answered(Answer::Served).await;
        assert_eq!(waits(&one, 1).await, Duration::ZERO);
    }
}

#[tokio::test]
async fn a_call_that_was_under_way_does_not_shorten_the_pause() {
    let (clock, world) = world();
    for [one, two] in fleets(&world, UNBOUND).await {
        let (mut first, mut second) = (passes(&one, 1).await, passes(&two, 1).await);
        first.answered(BUSY).await;
        second.answered(Answer::Busy { after: Some(TRYING) }).await;
        assert_eq!((waits(&one, 1).await, waits(&two, 1).await), (ASKED, ASKED));
        clock.advance(ASKED);
        // One that tried got in, but meanwhile another one was told to wait.
        let (mut late, mut trying) = (second, passes(&one, 1).await);
        late.answered(BUSY).await;
        trying.answered(Answer::Served).await;
        assert_eq!((waits(&one, 1).await, waits(&two, 1).await), (ASKED, ASKED));
        clock.advance(ASKED);
        // One that does not say for how long.
        told(&two, Answer::Busy { after: None }).await;
        assert_eq!(waits(&one, 1).await, Duration::from_secs(30));
        clock.advance(ASKED);
        // No number that a provider may write is too much.
        told(&two, Answer::Busy { after: Some(Duration::MAX) }).await;
        assert_eq!(waits(&two, 1).await, Duration::from_secs(24 * 3600));
    }
}

#[tokio::test]
async fn calls_and_costs_of_a_minute_are_bounded_for_all_together() {
    let (clock, world) = world();
    let bounds = Bounds { calls_per_minute: 2, cost_per_minute: 600, trial: TRIAL };
    for [one, two] in fleets(&world, bounds).await {
        let call = async |upstream: &Arc<Upstream>, cost: i64| {
            let mut pass = passes(upstream, 10).await;
            pass.answered(Answer::Served).await;
            pass.settle(cost).await;
        };
        call(&one, 10).await;
        passes(&two, 10).await.settle(10).await;
        call(&two, 580).await;
        // Two calls are all for now, and the costs are nearly used up.
        assert_eq!((waits(&one, 1).await.as_secs(), waits(&two, 1).await.as_secs()), (30, 30));
        assert_eq!(waits(&one, 600).await.as_secs(), 59);
        clock.advance(Duration::from_secs(60));
        // More than a minute holds must not wait for ever; what it costs is owed.
        call(&one, 1200).await;
        assert_eq!(waits(&two, 600).await.as_secs(), 120);
        assert_eq!(waits(&two, 1).await.as_micros(), 60_100_000);
    }
}

#[tokio::test]
async fn what_was_taken_for_nothing_is_given_back_even_if_nobody_says_so() {
    let Some(url) = quire_testkit::redis() else { return };
    let (_, world) = world();
    let bounds = Bounds { calls_per_minute: 1, ..UNBOUND };
    let (upstreams, name) = (on_redis(url, &world).await, world.id());
    let (one, two) = (upstreams.open(&name, bounds), upstreams.open(&name, bounds));
    drop(passes(&one, 1).await);
    // The report is under way by itself.
    while waits(&two, 1).await > Duration::ZERO {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_redis_that_has_forgotten_is_told() {
    let Some(redis) = PrivateRedis::start() else { return };
    let (clock, world) = world();
    let (one, two) = (on_redis(redis.url(), &world).await, on_redis(redis.url(), &world).await);
    let [one, two] = [one, two].map(|upstreams| upstreams.open("model", UNBOUND));
    let mut connection =
        redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let mut flush = async || redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.unwrap();
    told(&one, BUSY).await;
    flush().await;
    // The second one never heard of it: one more call is refused, and nothing else.
    told(&two, BUSY).await;
    assert_eq!((waits(&one, 1).await, waits(&two, 1).await), (ASKED, ASKED));
    clock.advance(ASKED);
    flush().await;
    // It is time to try. Redis knows of nothing, but one still tries for all.
    let mut trying = passes(&one, 1).await;
    assert_eq!((waits(&one, 1).await, waits(&two, 1).await), (TRYING, TRYING));
    flush().await;
    trying.answered(Answer::Served).await;
    assert_eq!(waits(&one, 1).await, Duration::ZERO);
}

#[tokio::test]
async fn without_redis_each_process_goes_on_with_what_it_knows() {
    let Some(url) = quire_testkit::redis() else { return };
    let (proxy, (clock, world)) = (Proxy::start(url).await, world());
    let bounds = Bounds { calls_per_minute: 3, ..UNBOUND };
    let mut upstreams = on_redis(&proxy.url, &world).await;
    let mut up = upstreams.link().watch();
    let (name, scope) = (world.id(), quire_serve::metrics::Metrics::default());
    upstreams.link().with_times(Duration::from_millis(300), Duration::ZERO);
    let upstreams = upstreams.exposed(&scope.scope("x"));
    let degraded = || scope.text().unwrap().contains("quire_x_limiter_degraded 1.0\n");
    let upstream = upstreams.open(&name, bounds);
    for _ in 0..2 {
        let mut pass = passes(&upstream, 1).await;
        pass.answered(Answer::Served).await;
        pass.settle(1).await;
    }
    let mut under_way = passes(&upstream, 1).await;
    assert!(!degraded());
    proxy.silent.store(true, Ordering::SeqCst);
    // The bucket is empty here too, and who was told something by the upstream remembers it.
    assert_eq!(waits(&upstream, 1).await, Duration::from_secs(20));
    under_way.answered(BUSY).await;
    under_way.settle(1).await;
    while *up.borrow_and_update() {
        assert!(waits(&upstream, 1).await > Duration::ZERO);
        clock.advance(ASKED);
        passes(&upstream, 1).await.answered(BUSY).await;
    }
    assert!(degraded());
    assert_eq!(waits(&upstream, 1).await, ASKED);
    clock.advance(ASKED * 3);
    let trying = passes(&upstream, 1).await;
    assert_eq!(waits(&upstream, 1).await, TRYING);
    drop(trying);
    proxy.silent.store(false, Ordering::SeqCst);
    // Every call offers to reconnect. Redis then learns what it has missed.
    while !*up.borrow_and_update() {
        drop(passes(&upstream, 1).await);
        up.changed().await.unwrap();
    }
    let mut trying = loop {
        // The last one may not be given back yet.
        match upstream.enter(1).await {
            Ok(pass) => break pass,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(upstream.breaker(), Breaker::Trying);
    let elsewhere = on_redis(url, &world).await.open(&name, bounds);
    assert_eq!(waits(&elsewhere, 1).await, TRYING);
    trying.answered(Answer::Served).await;
    assert_eq!(upstream.breaker(), Breaker::Closed);
}

#[tokio::test]
async fn without_redis_nobody_waits_for_a_call_of_another_process() {
    let Some(redis) = PrivateRedis::start() else { return };
    let (clock, world) = world();
    let (one, two) = (on_redis(redis.url(), &world).await, on_redis(redis.url(), &world).await);
    let [one, two] = [one, two].map(|upstreams| upstreams.open("model", UNBOUND));
    told(&one, BUSY).await;
    assert_eq!(waits(&two, 1).await, ASKED);
    clock.advance(ASKED);
    let trying = passes(&one, 1).await;
    assert_eq!((waits(&one, 1).await, waits(&two, 1).await), (TRYING, TRYING));
    drop(redis);
    // How it goes on, this process could not learn; but it knows that somebody must try.
    while two.breaker() == Breaker::Trying && waits(&two, 1).await > Duration::ZERO {
        tokio::task::yield_now().await;
    }
    let own = passes(&two, 1).await;
    assert_eq!((waits(&one, 1).await, waits(&two, 1).await), (TRYING, TRYING));
    drop((trying, own));
}
