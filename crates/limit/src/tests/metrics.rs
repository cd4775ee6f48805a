//! What an operator sees of limits.

use quire_serve::metrics::Metrics;

use super::proxy::Proxy;
use super::*;

fn shows(metrics: &Metrics, line: &str) -> bool {
    metrics.text().unwrap().lines().any(|shown| shown == line)
}

#[tokio::test]
async fn refusals_are_counted_by_policy_and_those_of_shadows_apart() {
    let (_, world) = world();
    let metrics = Metrics::default();
    let limiter = Limiter::memory(world).exposed(&metrics.scope("gateway"));
    let route = route("refresh", "3/minute, 1/hour shadow");
    for _ in 0..5 {
        limiter.check(&route, &address("a")).await;
    }
    for line in [
        "quire_gateway_limiter_checks_total{source=\"local\"} 5",
        "quire_gateway_limiter_refusals_total{policy=\"refresh-minute\"} 2",
        "quire_gateway_limiter_shadow_refusals_total{policy=\"refresh-hour\"} 4",
        "quire_gateway_limiter_degraded 0.0",
    ] {
        assert!(shows(&metrics, line), "{line}\n{}", metrics.text().unwrap());
    }
}

#[tokio::test]
async fn a_redis_that_falls_silent_shows_and_so_does_its_return() {
    let Some(url) = quire_testkit::redis() else { return };
    let proxy = Proxy::start(url).await;
    let (_, world) = world();
    let mut redis = patient_redis(&proxy.url, &world).await;
    redis.link().with_times(Duration::from_millis(300), Duration::ZERO);
    let mut up = redis.link().watch();
    let metrics = Metrics::default();
    let limiter = Limiter::on(redis, world.clone(), world.bytes()).exposed(&metrics.scope("gateway"));
    let (route, a) = (route("refresh", "100000/minute"), address("a"));
    assert!(shows(&metrics, "quire_gateway_limiter_degraded 0.0"));
    proxy.silent.store(true, Ordering::SeqCst);
    while *up.borrow_and_update() {
        limiter.check(&route, &a).await;
    }
    assert!(shows(&metrics, "quire_gateway_limiter_degraded 1.0"));
    proxy.silent.store(false, Ordering::SeqCst);
    while !*up.borrow_and_update() {
        limiter.check(&route, &a).await;
        up.changed().await.unwrap();
    }
    assert!(shows(&metrics, "quire_gateway_limiter_degraded 0.0"));
}
