//! The script in Redis against governor in process, on one clock.

use proptest::option::weighted;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::{Decision, Explanation, Source};

#[derive(Debug, Clone, Copy)]
enum Call {
    Check { times: u32 },
    GiveBack,
    Explain,
}

/// How often the steps reached what they are for.
#[derive(Debug, Default)]
struct Reached {
    denied: u32,
    shadowed: u32,
    answered_here: u32,
    answered_here_with_less: u32,
    given_back: u32,
}

/// The numbers of an address, a session and a user; not every call has all of them.
type Caller = (u8, Option<u8>, Option<u8>);

fn keys((from, session, user): Caller) -> Keys {
    let mut keys = address(&from.to_string());
    if let Some(session) = session {
        keys = keys.session(session.to_string());
    }
    if let Some(user) = user {
        keys = keys.user(user.to_string());
    }
    keys
}

fn steps() -> impl Strategy<Value = (Call, usize, Caller, u64)> {
    let call = prop_oneof![
        2 => Just(Call::Check { times: 1 }),
        2 => Just(Call::Check { times: 2 }),
        4 => Just(Call::Check { times: 4 }),
        1 => Just(Call::GiveBack),
        1 => Just(Call::Explain),
    ];
    let caller = (0..3_u8, weighted(0.8, 0..3_u8), weighted(0.5, 0..2_u8));
    let pause = prop_oneof![8 => Just(0_u64), 3 => 1..12_000_000_u64, 1 => 1..900_000_000_u64];
    (call, 0..ROUTES.len(), caller, pause)
}

/// Intervals of seconds: Redis forgets a key after its interval in real time, not in the test's.
const ROUTES: [&str; 8] = [
    "5/minute",
    "3/minute,7/hour",
    "4/minute burst 2,40/day",
    "6/minute burst 3, 4/minute by session, 60/hour burst 8 by everybody",
    "5/minute, 3/minute by session shadow, 30/hour burst 4 by user shadow",
    "3/minute shadow, 30/hour burst 5 by user, 20/hour by session",
    "2/minute by user shadow, 6/hour burst 3 by session shadow",
    "2/minute, 2/minute by session, 60/hour burst 20 by everybody",
];

#[tokio::test]
async fn redis_and_memory_decide_alike() {
    let Some(url) = quire_testkit::redis() else { return };
    let (clock, world) = world();
    let routes: Vec<RouteLimit> =
        ROUTES.iter().enumerate().map(|(number, text)| route(&format!("route{number}"), text)).collect();
    let memory = Limiter::memory(world.clone());
    let redis = on_redis(url, &world).await;
    let mut runner = TestRunner::deterministic();
    let steps = proptest::collection::vec(steps(), 2500).new_tree(&mut runner).unwrap().current();
    let mut reached = Reached::default();
    for (place, (call, route, caller, pause)) in steps.into_iter().enumerate() {
        clock.advance(Duration::from_micros(pause));
        let keys = keys(caller);
        let step = format!("step {place}: {call:?} on {}", ROUTES[route]);
        let route = &routes[route];
        match call {
            Call::Check { times } => {
                for _ in 0..times {
                    check_alike(&memory, &redis, route, &keys, &step, &mut reached).await;
                }
            }
            Call::GiveBack => {
                let before = memory.explain(route, &keys).await;
                memory.give_back(route, &keys).await;
                redis.give_back(route, &keys).await;
                reached.given_back += u32::from(before != memory.explain(route, &keys).await);
            }
            Call::Explain => {
                explain_alike(&memory, &redis, route, &keys, &step).await;
            }
        }
    }
    let Reached { denied, shadowed, answered_here, answered_here_with_less, given_back } = reached;
    for (what, times) in [("denied", denied), ("shadowed", shadowed), ("given back", given_back)] {
        assert!(times > 100, "the steps must reach the limits: {what} {times}");
    }
    assert!(answered_here > 100 && answered_here_with_less > 0, "{answered_here} {answered_here_with_less}");
}

async fn check_alike(
    memory: &Limiter,
    redis: &Limiter,
    route: &RouteLimit,
    keys: &Keys,
    step: &str,
    reached: &mut Reached,
) {
    let (states, answers_here) = explain_alike(memory, redis, route, keys, step).await;
    let full = memory.check(route, keys).await;
    let answer = Decision { source: Source::Local, ..redis.check(route, keys).await };
    reached.denied += u32::from(!full.allowed);
    reached.shadowed += u32::from(!full.shadowed.is_empty());
    if !answers_here {
        assert_eq!(answer, full, "{step}");
        return;
    }
    // A remembered denial knows only of the policies that denied while Redis was asked. Calls with other keys
    // may have used up another policy since: it denies as well, perhaps for longer, but nobody has asked. So the
    // call is denied all the same, and what is said is right for the policies that are named.
    reached.answered_here += 1;
    reached.answered_here_with_less += u32::from(answer.violated != full.violated);
    assert!(!answer.allowed && !full.allowed, "{step}");
    assert!(answer.violated.iter().all(|name| full.violated.contains(name)), "{step}");
    assert!(answer.shadowed.iter().all(|name| full.shadowed.contains(name)), "{step}");
    let named = states.policies.iter().filter(|state| answer.violated.contains(&state.policy.name));
    let longest = named.max_by_key(|state| state.next_call).expect("a denial names a policy");
    assert_eq!(answer.policy, longest.policy.name, "{step}");
    assert_eq!((answer.limit, answer.remaining), (longest.policy.quota, longest.remaining), "{step}");
    assert_eq!(answer.retry_after, longest.next_call, "{step}");
    assert_eq!(answer.reset_after, longest.reset_after, "{step}");
    if answer.violated == full.violated {
        assert_eq!(Decision { shadowed: full.shadowed.clone(), ..answer }, full, "{step}");
    }
}

/// How the policies stand, and whether a limiter on Redis would answer without asking it.
async fn explain_alike(
    memory: &Limiter,
    redis: &Limiter,
    route: &RouteLimit,
    keys: &Keys,
    step: &str,
) -> (Explanation, bool) {
    let here = memory.explain(route, keys).await;
    let mut there = redis.explain(route, keys).await;
    assert_eq!(there.source, Source::Redis, "{step}");
    there.source = Source::Local;
    let mut remembered = false;
    for state in &mut there.policies {
        remembered |= state.denial_cached;
        state.denial_cached = false;
    }
    assert_eq!(there, here, "{step}");
    (here, remembered)
}
