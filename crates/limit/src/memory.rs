//! Counting in this process, with `governor`.
//!
//! Governor checks one policy and consumes in the same step. A route needs all of its policies checked before
//! any is consumed, so governor is given a store that only stages the new arrival time; the staged times are
//! settled together when every policy allowed the call. One lock per limiter makes this one step.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};
use quire_clock::Timestamp;

use crate::{Decision, Key, Policy, RouteLimit};

/// Keys that are as good as unused are forgotten this often.
const SWEEP: Duration = Duration::from_secs(60);
/// More keys than this per policy are not kept: those with the least used up are forgotten first, so that a
/// flood of new keys cannot free a caller that is being limited.
const MAX_KEYS: usize = 100_000;

#[derive(Default)]
pub(crate) struct Memory {
    routes: Mutex<HashMap<RouteLimit, Route>>,
}

impl Memory {
    pub(crate) fn check(&self, route: &RouteLimit, key: Key, now: Timestamp) -> Decision {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if !routes.contains_key(route) {
            routes.insert(route.clone(), Route::new(route, now));
        }
        let state = routes.get_mut(route).expect("the route was added above");
        state.sweep(now);
        let (allowed, resets) = state.check(&key, now);
        Decision::of(route, allowed, &resets)
    }
}

struct Route {
    moment: Moment,
    gates: Vec<Gate>,
    swept_at: Timestamp,
}

impl Route {
    fn new(route: &RouteLimit, now: Timestamp) -> Self {
        let moment = Moment::default();
        let gates = route.policies.iter().map(|policy| Gate::new(policy, &moment)).collect();
        Self { moment, gates, swept_at: now }
    }

    /// Whether all policies allow the call, and per policy the microseconds to its arrival time.
    fn check(&self, key: &Key, now: Timestamp) -> (bool, Vec<u64>) {
        self.moment.set(now);
        let outcomes: Vec<Result<u64, u64>> =
            self.gates.iter().map(|gate| gate.probe(key, &self.moment)).collect();
        let allowed = outcomes.iter().all(Result::is_ok);
        if allowed {
            for gate in &self.gates {
                gate.table.settle(key);
            }
        }
        let resets = outcomes.iter().zip(&self.gates).map(|(outcome, gate)| match outcome {
            // Not settled: the call that was probed for does not count.
            Ok(reset) if !allowed => reset.saturating_sub(gate.interval),
            Ok(reset) | Err(reset) => *reset,
        });
        (allowed, resets.collect())
    }

    fn sweep(&mut self, now: Timestamp) {
        let full = self.gates.iter().any(|gate| gate.limiter.len() >= MAX_KEYS);
        if !full && now.since(self.swept_at) < SWEEP {
            return;
        }
        self.moment.set(now);
        self.swept_at = now;
        for gate in &self.gates {
            gate.limiter.retain_recent();
            gate.table.evict();
            gate.limiter.shrink_to_fit();
        }
    }
}

/// One policy of a route.
struct Gate {
    limiter: RateLimiter<Key, Table, Moment, NoOpMiddleware<Nanos>>,
    table: Table,
    /// Microseconds.
    interval: u64,
    /// Microseconds.
    tolerance: u64,
}

impl Gate {
    fn new(policy: &Policy, moment: &Moment) -> Self {
        let table = Table::default();
        let interval = policy.interval_micros();
        let burst = NonZeroU32::new(policy.burst.max(1)).expect("at least one");
        let quota = Quota::with_period(Duration::from_micros(interval)).expect("an interval is above zero");
        let limiter = RateLimiter::new(quota.allow_burst(burst), table.clone(), moment.clone());
        Self { limiter, table, interval, tolerance: policy.tolerance_micros() }
    }

    /// Microseconds to the arrival time: `Ok` if the call is allowed, then with the call counted.
    fn probe(&self, key: &Key, moment: &Moment) -> Result<u64, u64> {
        match self.limiter.check_key(key) {
            Ok(()) => Ok(self.table.staged_after(moment.now())),
            Err(denied) => {
                let wait = denied.wait_time_from(moment.now()).as_micros();
                Err(u64::try_from(wait).unwrap_or(u64::MAX).saturating_add(self.tolerance))
            }
        }
    }
}

/// The moment of the call being judged, so that all policies see the same one. It starts at zero, which makes
/// governor's times absolute.
#[derive(Clone, Default)]
struct Moment(Arc<AtomicU64>);

impl Moment {
    fn set(&self, now: Timestamp) {
        let micros = u64::try_from(now.unix_micros()).unwrap_or(0);
        self.0.store(micros.saturating_mul(1000), Ordering::Relaxed);
    }
}

impl Clock for Moment {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

/// The arrival times of one policy, and the one that is staged.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<Rows>>);

#[derive(Default)]
struct Rows {
    settled: HashMap<Key, Nanos>,
    staged: Nanos,
}

impl Table {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn staged_after(&self, now: Nanos) -> u64 {
        self.rows().staged.saturating_sub(now).as_u64().div_ceil(1000)
    }

    fn settle(&self, key: &Key) {
        let mut rows = self.rows();
        let staged = rows.staged;
        rows.settled.insert(*key, staged);
    }

    /// Forgets the least used tenth of the keys if there are too many.
    fn evict(&self) {
        let mut rows = self.rows();
        if rows.settled.len() < MAX_KEYS {
            return;
        }
        let mut times: Vec<Nanos> = rows.settled.values().copied().collect();
        let (_, bound, _) = times.select_nth_unstable(MAX_KEYS / 10);
        let bound = *bound;
        rows.settled.retain(|_, time| *time > bound);
    }
}

impl StateStore for Table {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut rows = self.rows();
        let (outcome, next) = measure(rows.settled.get(key).copied())?;
        rows.staged = next;
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<Key> for Table {
    fn retain_recent(&self, drop_below: Nanos) {
        self.rows().settled.retain(|_, time| *time >= drop_below);
    }

    fn shrink_to_fit(&self) {
        self.rows().settled.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.rows().settled.len()
    }

    fn is_empty(&self) -> bool {
        self.rows().settled.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key
    }

    #[test]
    fn a_flood_of_keys_is_bounded_and_frees_nobody() {
        let memory = Memory::default();
        let route = RouteLimit::parse("link", "5/hour").unwrap();
        let now = Timestamp::from_unix_seconds(1_700_000_000);
        for _ in 0..5 {
            assert!(memory.check(&route, key(usize::MAX), now).allowed);
        }
        for number in 0..MAX_KEYS + 50_000 {
            memory.check(&route, key(number), now);
        }
        let kept = memory.routes.lock().unwrap()[&route].gates[0].limiter.len();
        assert!(kept <= MAX_KEYS, "{kept}");
        assert!(!memory.check(&route, key(usize::MAX), now).allowed);
    }

    #[test]
    fn keys_that_are_as_good_as_unused_are_forgotten() {
        let memory = Memory::default();
        let route = RouteLimit::parse("link", "5/minute").unwrap();
        let now = Timestamp::from_unix_seconds(1_700_000_000);
        for number in 0..100 {
            memory.check(&route, key(number), now);
        }
        memory.check(&route, key(100), now.plus(Duration::from_secs(120)));
        assert_eq!(memory.routes.lock().unwrap()[&route].gates[0].limiter.len(), 1);
    }
}
