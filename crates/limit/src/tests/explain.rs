//! How policies stand, asked without counting.

use super::*;
use crate::{Backend, PolicyState, Source};

#[tokio::test]
async fn the_state_of_each_policy_with_a_key_is_told() {
    let (clock, world) = world();
    let route = route("link", "2/minute, 5/hour burst 3 by mailbox shadow, 9/day by user");
    let keys = address("a").mailbox("ada");
    for limiter in both(&world).await {
        let start = world.now();
        for _ in 0..3 {
            limiter.check(&route, &keys).await;
        }
        let explanation = limiter.explain(&route, &keys).await;
        let redis = matches!(limiter.backend, Backend::Redis(_));
        assert_eq!(explanation.source, if redis { Source::Redis } else { Source::Local });
        let states = explanation.policies;
        assert_eq!(
            states,
            [
                PolicyState {
                    policy: route.policies[0].clone(),
                    arrival: Some(start.plus(Duration::from_secs(60))),
                    remaining: 0,
                    next_call: Duration::from_secs(30),
                    reset_after: Duration::from_secs(60),
                    denial_cached: redis,
                },
                PolicyState {
                    policy: route.policies[1].clone(),
                    arrival: Some(start.plus(Duration::from_secs(1440))),
                    remaining: 1,
                    next_call: Duration::ZERO,
                    reset_after: Duration::from_secs(1440),
                    denial_cached: false,
                },
            ]
        );
        // What is used up and what is remembered both wear off.
        clock.advance(Duration::from_secs(30));
        let states = limiter.explain(&route, &keys).await.policies;
        assert_eq!((states[0].remaining, states[0].next_call), (1, Duration::ZERO));
        assert!(!states[0].denial_cached);
        clock.advance(Duration::from_secs(30));
        let states = limiter.explain(&route, &keys).await.policies;
        assert_eq!((states[0].remaining, states[0].arrival), (2, None));
        clock.advance(Duration::from_secs(3600));
        let states = limiter.explain(&route, &keys.clone().user("u")).await.policies;
        assert_eq!(states.len(), 3);
        assert!(states.iter().all(|state| state.arrival.is_none() && state.remaining == state.policy.burst));
    }
}

#[tokio::test]
async fn explaining_counts_nothing_and_writes_nothing() {
    let (_, world) = world();
    // A name that no other run shares, to find its keys in Redis.
    let name = format!("explained-{}", World::system().id());
    let route = route(&name, "3/minute, 1/hour by everybody shadow");
    let a = address("a");
    for limiter in both(&world).await {
        for _ in 0..20 {
            let explanation = limiter.explain(&route, &a).await;
            assert!(explanation.policies.iter().all(|state| state.arrival.is_none()));
        }
        assert!(wire::keys_of(&name).await.is_empty());
        for left in (0..3).rev() {
            limiter.explain(&route, &a).await;
            assert_eq!(limiter.check(&route, &a).await.remaining, left);
        }
        let denied = limiter.check(&route, &a).await;
        for _ in 0..20 {
            limiter.explain(&route, &a).await;
        }
        assert_eq!(limiter.check(&route, &a).await, denied);
    }
}

#[tokio::test]
async fn a_route_that_does_not_apply_has_nothing_to_explain() {
    let (_, world) = world();
    let route = route("link", "2/minute");
    for limiter in both(&world).await {
        assert!(limiter.explain(&route, &Keys::default()).await.policies.is_empty());
    }
}
