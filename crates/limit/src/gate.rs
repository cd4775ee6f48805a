//! One policy of a route, counted in this process with `governor`.
//!
//! Governor checks one policy and consumes in the same step. A route needs all of its policies checked before
//! any is consumed, so governor is given a store that only stages the new arrival time.

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

use crate::Policy;
use crate::keys::Key;

/// More keys than this per policy are not kept: those with the least used up are forgotten first, so that a
/// flood of new keys cannot free a caller that is being limited.
pub(crate) const MAX_KEYS: usize = 100_000;
/// So many are forgotten at once, as each time looks at all of them.
pub(crate) const STEP: usize = MAX_KEYS / 4;

pub(crate) struct Gate {
    limiter: RateLimiter<Key, Table, Moment, NoOpMiddleware<Nanos>>,
    table: Table,
    moment: Moment,
    /// Microseconds.
    interval: u64,
    /// Microseconds.
    tolerance: u64,
}

/// What a gate says about a call, with the microseconds to its arrival time.
pub(crate) enum Probe {
    /// Counted only once it is settled.
    Passes {
        counted: u64,
        uncounted: u64,
    },
    Denied {
        reset: u64,
    },
}

impl Gate {
    pub fn new(policy: &Policy, moment: &Moment) -> Self {
        let (table, moment) = (Table::default(), moment.clone());
        let interval = policy.interval_micros();
        let burst = NonZeroU32::new(policy.burst.max(1)).expect("at least one");
        let quota = Quota::with_period(Duration::from_micros(interval)).expect("an interval is above zero");
        let limiter = RateLimiter::new(quota.allow_burst(burst), table.clone(), moment.clone());
        Self { limiter, table, moment, interval, tolerance: policy.tolerance_micros() }
    }

    /// Asks without counting.
    pub fn probe(&self, key: &Key) -> Probe {
        let now = self.moment.now();
        match self.limiter.check_key(key) {
            Ok(()) => {
                let counted = micros_between(now, self.table.rows().staged);
                Probe::Passes { counted, uncounted: counted.saturating_sub(self.interval) }
            }
            Err(denied) => {
                let wait = u64::try_from(denied.wait_time_from(now).as_micros()).unwrap_or(u64::MAX);
                Probe::Denied { reset: wait.saturating_add(self.tolerance) }
            }
        }
    }

    /// Counts the call that was probed for last.
    pub fn settle(&self, key: &Key) {
        let mut rows = self.table.rows();
        let staged = rows.staged;
        rows.settled.insert(*key, staged);
    }

    /// Takes one call back.
    pub fn give_back(&self, key: &Key) {
        let mut rows = self.table.rows();
        let Some(arrival) = rows.settled.get_mut(key) else { return };
        *arrival = arrival.saturating_sub(Duration::from_micros(self.interval).into());
        if *arrival <= self.moment.now() {
            rows.settled.remove(key);
        }
    }

    /// Microseconds to the arrival time; zero if it is over.
    pub fn reset(&self, key: &Key) -> u64 {
        let arrival = self.table.rows().settled.get(key).copied();
        arrival.map_or(0, |arrival| micros_between(self.moment.now(), arrival))
    }

    /// Forgets the keys that are as good as unused.
    pub fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }

    /// Makes room for one more key.
    pub fn make_room(&self) {
        let mut rows = self.table.rows();
        if rows.settled.len() < MAX_KEYS {
            return;
        }
        let mut arrivals: Vec<Nanos> = rows.settled.values().copied().collect();
        let (earlier, bound, _) = arrivals.select_nth_unstable(STEP);
        let bound = *bound;
        // Of those at the bound only as many as needed: in a flood, all may have come at once.
        let mut at_bound = STEP - earlier.iter().filter(|arrival| **arrival < bound).count();
        rows.settled.retain(|_, arrival| {
            if *arrival == bound && at_bound > 0 {
                at_bound -= 1;
                return false;
            }
            *arrival >= bound
        });
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.limiter.len()
    }
}

fn micros_between(now: Nanos, later: Nanos) -> u64 {
    later.saturating_sub(now).as_u64().div_ceil(1000)
}

/// The moment of the call being judged, so that all policies see the same one. It starts at zero, which makes
/// governor's times absolute.
#[derive(Clone, Default)]
pub(crate) struct Moment(Arc<AtomicU64>);

impl Moment {
    pub fn set(&self, now: Timestamp) {
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
        self.rows().settled.retain(|_, arrival| *arrival >= drop_below);
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
