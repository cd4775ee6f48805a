//! What Redis denied is denied again without asking it.

use super::proxy::Proxy;
use super::*;
use crate::Source;

/// A limiter behind a proxy that counts its requests.
async fn behind_a_proxy(url: &str, judge: &World, world: &World) -> (Proxy, Limiter) {
    let proxy = Proxy::start(url).await;
    let redis = patient_redis(&proxy.url, judge).await;
    (proxy, Limiter::on(redis, world.clone(), world.bytes()))
}

async fn use_up(limiter: &Limiter, route: &RouteLimit, keys: &Keys) {
    while limiter.check(route, keys).await.allowed {}
}

#[tokio::test]
async fn a_denied_call_is_denied_again_without_redis_until_it_may_pass() {
    let Some(url) = quire_testkit::redis() else { return };
    let (clock, world) = world();
    let (proxy, limiter) = behind_a_proxy(url, &world, &world).await;
    let route = route("refresh", "5/minute");
    let (a, b) = (address("a"), address("b"));
    use_up(&limiter, &route, &a).await;
    let asked = proxy.requests();
    let first = limiter.check(&route, &a).await;
    assert_eq!(first.source, Source::Redis);
    assert_eq!(first.retry_after, Duration::from_secs(12));
    clock.advance(Duration::from_secs(5));
    let denied = limiter.check(&route, &a).await;
    assert_eq!((denied.allowed, denied.limit, denied.remaining), (false, 5, 0));
    assert_eq!(denied.retry_after, Duration::from_secs(7));
    assert_eq!(denied.reset_after, Duration::from_secs(55));
    assert_eq!(denied.violated, ["refresh-minute"]);
    clock.advance(Duration::from_micros(6_999_999));
    assert_eq!(limiter.check(&route, &a).await.retry_after, Duration::from_micros(1));
    assert_eq!(proxy.requests(), asked);
    assert!(limiter.check(&route, &b).await.allowed);
    assert!(proxy.requests() > asked, "another caller is asked about");
    let asked = proxy.requests();
    clock.advance(Duration::from_micros(1));
    assert!(limiter.check(&route, &a).await.allowed);
    assert!(proxy.requests() > asked);
    assert!(!limiter.check(&route, &a).await.allowed);
}

#[tokio::test]
async fn one_remembered_policy_is_enough_to_deny() {
    let Some(url) = quire_testkit::redis() else { return };
    let (_, world) = world();
    let (proxy, limiter) = behind_a_proxy(url, &world, &world).await;
    let route = route("refresh", "2/minute, 9/hour by session");
    use_up(&limiter, &route, &address("a").session("s")).await;
    let asked = proxy.requests();
    let denied = limiter.check(&route, &address("a").session("another")).await;
    assert_eq!((denied.allowed, denied.policy.as_str()), (false, "refresh-minute"));
    assert_eq!(denied.retry_after, Duration::from_secs(30));
    assert_eq!(proxy.requests(), asked);
    let passed = limiter.check(&route, &address("b").session("s")).await;
    assert_eq!((passed.allowed, proxy.requests() > asked), (true, true));
}

#[tokio::test]
async fn a_remembered_denial_holds_while_redis_does_not_answer() {
    let Some(url) = quire_testkit::redis() else { return };
    let (clock, world) = world();
    let (proxy, limiter) = behind_a_proxy(url, &world, &world).await;
    let route = route("refresh", "5/minute");
    use_up(&limiter, &route, &address("a")).await;
    proxy.cut().await;
    // Another caller is counted here now.
    let local = limiter.check(&route, &address("b")).await;
    assert_eq!((local.allowed, local.source), (true, Source::Local));
    let denied = limiter.check(&route, &address("a")).await;
    assert_eq!((denied.allowed, denied.source), (false, Source::Redis));
    clock.advance(Duration::from_secs(12));
    let local = limiter.check(&route, &address("a")).await;
    assert_eq!((local.allowed, local.source), (true, Source::Local));
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_prolong_a_denial() {
    let Some(url) = quire_testkit::redis() else { return };
    let (server, judge) = world();
    let hands = Arc::new(Hands(AtomicI64::new(START.unix_micros())));
    let world = World::with_clock(hands.clone());
    let (proxy, limiter) = behind_a_proxy(url, &judge, &world).await;
    let route = route("refresh", "5/minute");
    let a = address("a");
    use_up(&limiter, &route, &a).await;

    // Before the moment of the denial: Redis is asked, and right.
    let asked = proxy.requests();
    hands.turn(START.minus(Duration::from_secs(3600)));
    server.advance(Duration::from_secs(2));
    let denied = limiter.check(&route, &a).await;
    assert_eq!((denied.allowed, denied.retry_after), (false, Duration::from_secs(10)));
    assert!(proxy.requests() > asked);
    // Its answer is remembered by the clock as it is now.
    let asked = proxy.requests();
    assert!(!limiter.check(&route, &a).await.allowed);
    assert_eq!(proxy.requests(), asked);

    // Set back by less than the denial is old: the clock does not stand before its moment, but ran back.
    hands.turn(START.minus(Duration::from_secs(3595)));
    assert!(limiter.check(&route, &address("b")).await.allowed);
    server.advance(Duration::from_secs(10));
    hands.turn(START.minus(Duration::from_secs(3596)));
    assert!(limiter.check(&route, &a).await.allowed);
}

#[tokio::test]
async fn another_replica_notices_a_call_given_back_when_its_denial_is_over() {
    let Some(url) = quire_testkit::redis() else { return };
    let (clock, world) = world();
    let hash_key = world.bytes();
    let here = Limiter::on(patient_redis(url, &world).await, world.clone(), hash_key);
    let there = Limiter::on(patient_redis(url, &world).await, world.clone(), hash_key);
    let (route, a) = (route("link", "5/minute"), address("a"));
    use_up(&here, &route, &a).await;
    there.give_back(&route, &a).await;
    assert!(!here.check(&route, &a).await.allowed);
    assert!(there.check(&route, &a).await.allowed);
    clock.advance(Duration::from_secs(12));
    assert!(here.check(&route, &a).await.allowed);
}
