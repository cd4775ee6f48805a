//! Calls that are taken back.

use super::*;
use crate::Source;

#[tokio::test]
async fn exactly_one_call_is_given_back_to_every_policy_with_a_key() {
    let (_, world) = world();
    let route = route("link", "5/minute, 6/hour by mailbox");
    let keys = address("a").mailbox("ada");
    for limiter in both(&world).await {
        for _ in 0..5 {
            assert!(limiter.check(&route, &keys).await.allowed);
        }
        // Twice: the second denial is one that a limiter on Redis remembers.
        for _ in 0..2 {
            assert!(!limiter.check(&route, &keys).await.allowed);
        }
        limiter.give_back(&route, &keys).await;
        assert!(limiter.check(&route, &keys).await.allowed);
        assert!(!limiter.check(&route, &keys).await.allowed);
        // The mailbox got it back too: five of its six calls are used up.
        assert!(limiter.check(&route, &address("b").mailbox("ada")).await.allowed);
        let denied = limiter.check(&route, &address("b").mailbox("ada")).await;
        assert_eq!(denied.violated, ["link-mailbox-hour"]);
        // A policy whose key is not given keeps its count.
        limiter.give_back(&route, &Keys::default().mailbox("ada")).await;
        assert_eq!(limiter.check(&route, &keys).await.violated, ["link-minute"]);
    }
}

#[tokio::test]
async fn what_was_not_used_up_is_not_given_back() {
    let (clock, world) = world();
    let route = route("link", "2/minute");
    let a = address("a");
    for limiter in both(&world).await {
        limiter.give_back(&route, &a).await;
        limiter.check(&route, &a).await;
        // Half of the call is worn off: giving it back leaves nothing, not less.
        clock.advance(Duration::from_secs(15));
        for _ in 0..3 {
            limiter.give_back(&route, &a).await;
        }
        assert_eq!(limiter.explain(&route, &a).await.policies[0].arrival, None);
        for passes in [true, true, false] {
            assert_eq!(limiter.check(&route, &a).await.allowed, passes);
        }
    }
}

#[tokio::test]
async fn while_redis_does_not_answer_the_local_count_gets_the_call_back() {
    let Some(url) = quire_testkit::redis() else { return };
    let proxy = proxy::Proxy::start(url).await;
    let (_, world) = world();
    let limiter = on_redis(&proxy.url, &world).await;
    proxy.cut().await;
    let (route, a) = (route("link", "1/minute"), address("a"));
    for passes in [true, false] {
        let decision = limiter.check(&route, &a).await;
        assert_eq!((decision.allowed, decision.source), (passes, Source::Local));
    }
    limiter.give_back(&route, &a).await;
    for passes in [true, false] {
        assert_eq!(limiter.check(&route, &a).await.allowed, passes);
    }
}
