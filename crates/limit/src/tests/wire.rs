//! What Redis gets to see.

use redis::aio::MultiplexedConnection;

use super::*;
use crate::Source;

async fn connection(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// The names of all keys of a route; none without Redis.
pub(super) async fn keys_of(route: &str) -> Vec<String> {
    let Some(url) = quire_testkit::redis() else { return Vec::new() };
    let pattern = format!("quire:limit:{{{route}}}:*");
    redis::cmd("KEYS").arg(pattern).query_async(&mut connection(url).await).await.unwrap()
}

#[tokio::test]
async fn the_script_is_loaded_again_after_redis_forgot_it() {
    let Some(url) = quire_testkit::redis() else { return };
    let (_, world) = world();
    let limiter = on_redis(url, &world).await;
    let route = route("refresh", "5/minute");
    assert!(limiter.check(&route, &address("a")).await.allowed);
    redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut connection(url).await).await.unwrap();
    assert_eq!(limiter.check(&route, &address("a")).await.remaining, 3);
}

#[tokio::test]
async fn no_key_reaches_redis_in_clear() {
    let Some(url) = quire_testkit::redis() else { return };
    let (_, world) = world();
    let limiter = on_redis(url, &world).await;
    let name = format!("clear-{}", World::system().id());
    let route = route(&name, "5/minute by mailbox, 7/hour");
    limiter.check(&route, &address("203.0.113.7").mailbox("ada@example.org")).await;
    let keys = keys_of(&name).await;
    assert_eq!(keys.len(), 2);
    for part in [format!("{name}-mailbox-minute:5:60:"), format!("{name}-hour:7:3600:")] {
        assert!(keys.iter().any(|key| key.contains(&part)), "{keys:?}");
    }
    assert!(keys.iter().all(|key| !key.contains("example") && !key.contains("203.0")), "{keys:?}");
}

#[tokio::test]
async fn a_route_that_counts_by_another_kind_of_key_starts_anew() {
    let Some(url) = quire_testkit::redis() else { return };
    let (_, world) = world();
    let limiter = on_redis(url, &world).await;
    let keys = address("same").user("same");
    for by in [By::Address, By::User] {
        let route = RouteLimit::parse("refresh", "1/minute", by, &[]).unwrap();
        for passes in [true, false] {
            assert_eq!(limiter.check(&route, &keys).await.allowed, passes);
        }
    }
}

#[tokio::test]
async fn the_clock_of_the_server_judges_and_not_that_of_the_process() {
    let Some(url) = quire_testkit::redis() else { return };
    // Stands still, in the past.
    let (_, world) = world();
    let mut redis = Redis::connect(url).await.unwrap();
    redis.link().with_times(Duration::from_secs(10), Duration::ZERO);
    let limiter = Limiter::on(redis, world.clone(), world.bytes());
    let route = route("link", "2/day");
    let a = address("a");
    for passes in [true, true, false] {
        let decision = limiter.check(&route, &a).await;
        assert_eq!((decision.allowed, decision.source), (passes, Source::Redis));
        assert!(decision.retry_after <= Duration::from_secs(43_200));
    }
    let arrival = limiter.explain(&route, &a).await.policies[0].arrival;
    assert!(arrival > Some(World::system().now()));
    limiter.give_back(&route, &a).await;
    for passes in [true, false] {
        assert_eq!(limiter.check(&route, &a).await.allowed, passes);
    }
}
