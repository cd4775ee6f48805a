//! Counting in this process. One lock per limiter makes a check of several policies one step.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quire_clock::Timestamp;

use crate::RouteLimit;
use crate::decision::Verdict;
use crate::explanation::Standing;
use crate::gate::{Gate, Moment, Probe};
use crate::keys::Bucket;

/// Keys that are as good as unused are forgotten this often.
const SWEEP: Duration = Duration::from_secs(60);

/// The counts of all routes that were asked for. Holds at most 100,000 keys per policy.
#[derive(Default)]
pub(crate) struct Memory {
    routes: Mutex<HashMap<RouteLimit, Route>>,
}

impl Memory {
    /// Counts one call if all policies but the shadows allow it.
    pub fn check<'a>(&self, route: &RouteLimit, buckets: &[Bucket<'a>], now: Timestamp) -> Vec<Verdict<'a>> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if !routes.contains_key(route) {
            routes.insert(route.clone(), Route::new(route, now));
        }
        let state = routes.get_mut(route).expect("the route was added above");
        state.sweep(now);
        state.check(buckets, now)
    }

    /// Counts nothing and adds no key.
    pub fn explain(&self, route: &RouteLimit, buckets: &[Bucket], now: Timestamp) -> Standing {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let resets = match routes.get(route) {
            Some(state) => {
                state.moment.set(now);
                buckets.iter().map(|bucket| state.gates[bucket.place].reset(&bucket.key)).collect()
            }
            None => vec![0; buckets.len()],
        };
        Standing { now, resets }
    }

    /// Takes one call back from every policy.
    pub fn give_back(&self, route: &RouteLimit, buckets: &[Bucket], now: Timestamp) {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = routes.get(route) else { return };
        state.moment.set(now);
        for bucket in buckets {
            state.gates[bucket.place].give_back(&bucket.key);
        }
    }
}

struct Route {
    moment: Moment,
    /// One per policy, in order.
    gates: Vec<Gate>,
    swept_at: Timestamp,
}

impl Route {
    fn new(route: &RouteLimit, now: Timestamp) -> Self {
        let moment = Moment::default();
        let gates = route.policies.iter().map(|policy| Gate::new(policy, &moment)).collect();
        Self { moment, gates, swept_at: now }
    }

    fn check<'a>(&self, buckets: &[Bucket<'a>], now: Timestamp) -> Vec<Verdict<'a>> {
        self.moment.set(now);
        let probes: Vec<Probe> =
            buckets.iter().map(|bucket| self.gates[bucket.place].probe(&bucket.key)).collect();
        let denied = |(bucket, probe): (&Bucket, &Probe)| {
            !bucket.policy.shadow && matches!(probe, Probe::Denied { .. })
        };
        let allowed = !buckets.iter().zip(&probes).any(denied);
        let verdicts = buckets.iter().zip(probes).map(|(bucket, probe)| {
            let (denied, reset) = match probe {
                Probe::Denied { reset } => (true, reset),
                Probe::Passes { counted, .. } if allowed => {
                    let gate = &self.gates[bucket.place];
                    gate.make_room();
                    gate.settle(&bucket.key);
                    (false, counted)
                }
                Probe::Passes { uncounted, .. } => (false, uncounted),
            };
            Verdict { policy: bucket.policy, denied, reset }
        });
        verdicts.collect()
    }

    fn sweep(&mut self, now: Timestamp) {
        if now.since(self.swept_at) < SWEEP {
            return;
        }
        self.moment.set(now);
        self.swept_at = now;
        self.gates.iter().for_each(Gate::sweep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{MAX_KEYS, STEP};
    use crate::{By, Decision, Source};

    /// The buckets of a call whose every key is this number.
    fn buckets(route: &RouteLimit, number: usize) -> Vec<Bucket<'_>> {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        let policies = route.policies.iter().enumerate();
        policies.map(|(place, policy)| Bucket { policy, place, key }).collect()
    }

    fn kept(memory: &Memory, route: &RouteLimit) -> Vec<usize> {
        let routes = memory.routes.lock().unwrap();
        routes.get(route).map_or_else(Vec::new, |state| state.gates.iter().map(Gate::len).collect())
    }

    fn allowed(memory: &Memory, route: &RouteLimit, number: usize, now: Timestamp) -> bool {
        Decision::of(route, &memory.check(route, &buckets(route, number), now), Source::Local).allowed
    }

    fn route(text: &str) -> RouteLimit {
        RouteLimit::parse("link", text, By::Address, &[]).unwrap()
    }

    const START: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

    #[test]
    fn a_million_keys_are_bounded_and_free_nobody() {
        let memory = Memory::default();
        let route = route("5/hour");
        // Whether all of the flood comes at one moment or one call after the other.
        for (flood, step) in [(0..500_000, 0), (500_000..1_000_000, 1)] {
            let mut now = START;
            let limited = flood.end + 10_000_000;
            while allowed(&memory, &route, limited, now) {}
            for number in flood {
                now = now.plus(Duration::from_micros(step));
                memory.check(&route, &buckets(&route, number), now);
            }
            assert!(kept(&memory, &route)[0] <= MAX_KEYS);
            assert!(!allowed(&memory, &route, limited, now));
        }
    }

    #[test]
    fn a_flood_of_calls_that_use_up_all_at_one_moment_does_not_clear_the_table() {
        let memory = Memory::default();
        let route = route("1/hour");
        for number in 0..=MAX_KEYS {
            memory.check(&route, &buckets(&route, number), START);
        }
        assert_eq!(kept(&memory, &route), [MAX_KEYS - STEP + 1]);
    }

    #[test]
    fn keys_that_are_as_good_as_unused_are_forgotten() {
        let memory = Memory::default();
        let route = route("5/minute");
        for number in 0..100 {
            memory.check(&route, &buckets(&route, number), START);
        }
        memory.check(&route, &buckets(&route, 100), START.plus(Duration::from_secs(120)));
        assert_eq!(kept(&memory, &route), [1]);
    }

    #[test]
    fn explaining_and_giving_back_add_no_keys() {
        let memory = Memory::default();
        let route = route("1/minute,20/hour");
        memory.explain(&route, &buckets(&route, 1), START);
        memory.give_back(&route, &buckets(&route, 1), START);
        assert!(kept(&memory, &route).is_empty());
        memory.check(&route, &buckets(&route, 1), START);
        memory.explain(&route, &buckets(&route, 2), START);
        memory.give_back(&route, &buckets(&route, 2), START);
        assert_eq!(kept(&memory, &route), [1, 1]);
        // A denied call adds none either, and a call given back leaves nothing.
        memory.check(&route, &buckets(&route, 1), START);
        memory.give_back(&route, &buckets(&route, 1), START);
        assert_eq!(kept(&memory, &route), [0, 0]);
    }
}
