//! Policies that are tried out before they bite.

use super::*;

#[tokio::test]
async fn a_shadow_policy_never_denies_and_is_reported() {
    let (_, world) = world();
    let route = route("refresh", "5/minute, 2/minute by session shadow");
    let keys = address("a").session("s");
    for limiter in both(&world).await {
        for call in 0..5 {
            let decision = limiter.check(&route, &keys).await;
            assert!(decision.allowed);
            assert_eq!((decision.policy.as_str(), decision.limit), ("refresh-minute", 5));
            assert_eq!(decision.remaining, 4 - call);
            let expected: &[&str] = if call < 2 { &[] } else { &["refresh-session-minute"] };
            assert_eq!(decision.shadowed, expected);
        }
        // Asked, and answered from memory of the denial: the shadow is named both times.
        for _ in 0..2 {
            let denied = limiter.check(&route, &keys).await;
            assert_eq!((denied.allowed, denied.policy.as_str()), (false, "refresh-minute"));
            assert_eq!(denied.violated, ["refresh-minute"]);
            assert_eq!(denied.shadowed, ["refresh-session-minute"]);
        }
    }
}

#[tokio::test]
async fn a_shadow_policy_counts_only_calls_that_it_and_the_others_allow() {
    let (clock, world) = world();
    let route = route("refresh", "1/minute, 3/minute by session shadow");
    for limiter in both(&world).await {
        assert!(limiter.check(&route, &address("a").session("s")).await.allowed);
        for _ in 0..20 {
            let denied = limiter.check(&route, &address("a").session("s")).await;
            assert!(!denied.allowed && denied.shadowed.is_empty());
        }
        // One is used up, so two more would pass; those it would deny do not lengthen its wait.
        for call in ["b", "c", "d", "e", "f"] {
            let decision = limiter.check(&route, &address(call).session("s")).await;
            assert!(decision.allowed);
            assert_eq!(decision.shadowed.is_empty(), call < "d", "{call}");
        }
        clock.advance(Duration::from_secs(20));
        let decision = limiter.check(&route, &address("g").session("s")).await;
        assert!(decision.shadowed.is_empty());
    }
}

#[tokio::test]
async fn a_route_of_shadows_alone_limits_nothing() {
    let (_, world) = world();
    let route = route("refresh", "1/minute shadow");
    for limiter in both(&world).await {
        for call in 0..3 {
            let decision = limiter.check(&route, &address("a")).await;
            assert!(decision.allowed);
            assert_eq!((decision.policy.as_str(), decision.limit, decision.remaining), ("refresh", 0, 0));
            assert_eq!((decision.retry_after, decision.reset_after), (Duration::ZERO, Duration::ZERO));
            assert_eq!(decision.shadowed.len(), usize::from(call > 0));
        }
    }
}
