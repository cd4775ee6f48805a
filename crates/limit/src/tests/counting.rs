//! What passes and what does not, with one key and with several.

use super::*;
use crate::Decision;

#[tokio::test]
async fn the_sixth_call_waits_twelve_seconds_and_then_one_more_is_let_through() {
    let (clock, world) = world();
    let route = route("refresh", "5/minute");
    for limiter in both(&world).await {
        for left in (0..5).rev() {
            let decision = limiter.check(&route, &address("a")).await;
            assert!(decision.allowed);
            assert_eq!((decision.limit, decision.remaining), (5, left));
            assert_eq!(decision.retry_after, Duration::ZERO);
            assert!(decision.violated.is_empty());
        }
        let denied = limiter.check(&route, &address("a")).await;
        assert_eq!(
            denied,
            Decision {
                allowed: false,
                policy: "refresh-minute".to_owned(),
                limit: 5,
                remaining: 0,
                retry_after: Duration::from_secs(12),
                reset_after: Duration::from_secs(60),
                violated: vec!["refresh-minute".to_owned()],
                shadowed: Vec::new(),
                source: denied.source,
            }
        );
        assert!(limiter.check(&route, &address("another")).await.allowed);
        clock.advance(Duration::from_secs(12));
        assert!(limiter.check(&route, &address("a")).await.allowed);
        assert!(!limiter.check(&route, &address("a")).await.allowed);
    }
}

#[tokio::test]
async fn after_silence_at_most_twice_the_quota_less_one_passes_in_one_window() {
    let (clock, world) = world();
    let route = route("refresh", "5/minute");
    for limiter in both(&world).await {
        let mut passed = 0;
        // Calls at 0, 1, .. 59 seconds: less than a minute from the first to the last, six at each moment.
        for _ in 0..60 {
            for _ in 0..6 {
                passed += usize::from(limiter.check(&route, &address("a")).await.allowed);
            }
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(passed, 9);
    }
}

#[tokio::test]
async fn a_call_that_one_policy_denies_costs_the_other_nothing() {
    let (clock, world) = world();
    let route = route("refresh", "5/minute,8/hour");
    for limiter in both(&world).await {
        for _ in 0..5 {
            assert!(limiter.check(&route, &address("a")).await.allowed);
        }
        for _ in 0..20 {
            let denied = limiter.check(&route, &address("a")).await;
            assert_eq!((denied.allowed, denied.policy.as_str()), (false, "refresh-minute"));
        }
        clock.advance(Duration::from_secs(60));
        for _ in 0..3 {
            assert!(limiter.check(&route, &address("a")).await.allowed);
        }
        let denied = limiter.check(&route, &address("a")).await;
        assert_eq!((denied.allowed, denied.policy.as_str()), (false, "refresh-hour"));
        assert_eq!(denied.retry_after, Duration::from_secs(390));
    }
}

#[tokio::test]
async fn policies_of_different_keys_count_all_or_nothing() {
    let (_, world) = world();
    let route = route("link", "2/minute, 4/hour by mailbox, 7/day by everybody");
    let call = |from: &str, to: &str| address(from).mailbox(to);
    for limiter in both(&world).await {
        for _ in 0..2 {
            assert!(limiter.check(&route, &call("a", "ada")).await.allowed);
        }
        // Denied by the address, so neither the mailbox nor everybody pays.
        for _ in 0..20 {
            let denied = limiter.check(&route, &call("a", "ada")).await;
            assert_eq!(denied.violated, ["link-minute"]);
        }
        for _ in 0..2 {
            assert!(limiter.check(&route, &call("b", "ada")).await.allowed);
        }
        // Both deny: the longer wait decides, and both are named.
        let denied = limiter.check(&route, &call("b", "ada")).await;
        assert_eq!(denied.violated, ["link-minute", "link-mailbox-hour"]);
        assert_eq!(denied.policy, "link-mailbox-hour");
        assert_eq!(denied.retry_after, Duration::from_secs(900));
        // Denied by the mailbox, so the address does not pay.
        for _ in 0..20 {
            let denied = limiter.check(&route, &call("c", "ada")).await;
            assert_eq!(denied.violated, ["link-mailbox-hour"]);
        }
        for _ in 0..2 {
            assert!(limiter.check(&route, &call("c", "bob")).await.allowed);
        }
        let last = limiter.check(&route, &call("d", "bob")).await;
        assert_eq!((last.allowed, last.policy.as_str(), last.remaining), (true, "link-everybody-day", 0));
        let denied = limiter.check(&route, &call("e", "cleo")).await;
        assert_eq!(denied.violated, ["link-everybody-day"]);
    }
}

#[tokio::test]
async fn a_policy_whose_key_the_call_does_not_have_is_left_out() {
    let (_, world) = world();
    let route = route("refresh", "3/minute, 1/minute by session");
    for limiter in both(&world).await {
        for left in (0..3).rev() {
            let decision = limiter.check(&route, &address("a")).await;
            assert_eq!((decision.allowed, decision.policy.as_str()), (true, "refresh-minute"));
            assert_eq!(decision.remaining, left);
        }
        assert!(limiter.check(&route, &Keys::default().session("s")).await.allowed);
        let denied = limiter.check(&route, &Keys::default().session("s")).await;
        assert_eq!(denied.violated, ["refresh-session-minute"]);
        // The same text as another kind of key is another key.
        assert!(limiter.check(&route, &Keys::default().session("a")).await.allowed);
        for _ in 0..10 {
            let unlimited = limiter.check(&route, &Keys::default().user("u")).await;
            assert!(unlimited.allowed);
            assert_eq!((unlimited.policy.as_str(), unlimited.limit), ("refresh", 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_calls_at_once_exactly_the_quota_passes() {
    let (_, world) = world();
    let route = route("verify", "10/minute,15/hour by everybody");
    for limiter in both(&world).await {
        assert_eq!(passed_at_once(&[limiter], &route, 64).await, 10);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_replicas_that_share_redis_never_exceed_the_quota_together() {
    let Some(url) = quire_testkit::redis() else { return };
    let (clock, world) = world();
    let hash_key = world.bytes();
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(Limiter::on(patient_redis(url, &world).await, world.clone(), hash_key));
    }
    let route = route("verify", "10/minute,15/hour by everybody");
    assert_eq!(passed_at_once(&replicas, &route, 64).await, 10);
    // Each has remembered that Redis denied; neither holds on to it for too long.
    clock.advance(Duration::from_secs(12));
    assert_eq!(passed_at_once(&replicas, &route, 64).await, 2);
    clock.advance(Duration::from_secs(60));
    assert_eq!(passed_at_once(&replicas, &route, 64).await, 3);
}

/// How many of so many calls pass that come from many tasks, to one limiter after the other.
async fn passed_at_once(limiters: &[Limiter], route: &RouteLimit, calls: usize) -> usize {
    let tasks = (0..calls).map(|call| {
        let (limiter, route) = (limiters[call % limiters.len()].clone(), route.clone());
        tokio::spawn(async move { limiter.check(&route, &address("a")).await })
    });
    let mut passed = 0;
    for task in tasks.collect::<Vec<_>>() {
        passed += usize::from(task.await.unwrap().allowed);
    }
    passed
}
