//! Denials by Redis, remembered by this process: a caller that keeps calling while it is denied costs Redis
//! nothing.
//!
//! This is safe because a denied call moves no count: until the moment Redis named, the answer stays the same.
//! Only a call given back changes it. One given back through this process ends the denial here at once; one
//! given back through another replica is noticed here when the denial is over, at most one interval later.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quire_clock::{Timestamp, World};

use crate::RouteLimit;
use crate::decision::Verdict;
use crate::keys::{Bucket, Key};

/// When there are so many, a tenth makes room: those that are over soonest.
const MAX_DENIALS: usize = 100_000;
/// Denials that are over are forgotten this often.
const SWEEP: Duration = Duration::from_secs(60);

pub(crate) struct Denials {
    world: World,
    state: Mutex<State>,
}

struct State {
    /// The number of each route's first policy.
    places: HashMap<RouteLimit, usize>,
    next_place: usize,
    /// Per policy and key, the moment from which a call may pass again.
    until: HashMap<(usize, Key), Timestamp>,
    /// The clock when it was last read, so never before a denial was remembered. It is only read under the lock:
    /// tasks that race each other cannot make it seem to run back.
    latest: Timestamp,
    swept_at: Timestamp,
    /// Raised whenever denials are taken back.
    generation: u64,
}

/// What is remembered about one call.
pub(crate) struct Known {
    /// Per bucket, microseconds until a call may pass again; zero if nothing is remembered.
    pub waits: Vec<u64>,
    at: Timestamp,
    generation: u64,
}

impl Known {
    /// The verdicts of the policies that are known to deny; none if the call may pass as far as is known.
    pub fn denial<'a>(&self, buckets: &[Bucket<'a>]) -> Option<Vec<Verdict<'a>>> {
        let known = buckets.iter().zip(&self.waits).filter(|(_, wait)| **wait > 0);
        let verdicts: Vec<Verdict> = known
            .map(|(bucket, wait)| {
                let reset = wait.saturating_add(bucket.policy.tolerance_micros());
                Verdict { policy: bucket.policy, denied: true, reset }
            })
            .collect();
        verdicts.iter().any(Verdict::denies).then_some(verdicts)
    }
}

impl Denials {
    pub fn new(world: World) -> Self {
        let now = world.now();
        let state = State {
            places: HashMap::new(),
            next_place: 0,
            until: HashMap::new(),
            latest: now,
            swept_at: now,
            generation: 0,
        };
        Self { world, state: Mutex::new(state) }
    }

    /// What is remembered about a call in these buckets.
    pub fn known(&self, route: &RouteLimit, buckets: &[Bucket]) -> Known {
        let (mut state, at) = self.now();
        let first = state.first_place(route);
        let wait = |bucket: &Bucket| {
            let until = state.until.get(&(first + bucket.place, bucket.key))?;
            u64::try_from(until.since(at).as_micros()).ok()
        };
        let waits = buckets.iter().map(|bucket| wait(bucket).unwrap_or(0)).collect();
        Known { waits, at, generation: state.generation }
    }

    /// Remembers which policies denied a call, shadows included. `known` is what was known before Redis was
    /// asked; the denials count from then, so that none lasts longer than Redis meant.
    pub fn remember(&self, route: &RouteLimit, buckets: &[Bucket], verdicts: &[Verdict], known: &Known) {
        let (mut state, now) = self.now();
        // Something was taken back while Redis was asked: its answer may be from before.
        if state.generation != known.generation {
            return;
        }
        let first = state.first_place(route);
        for (bucket, verdict) in buckets.iter().zip(verdicts).filter(|(_, verdict)| verdict.denied) {
            state.make_room(now);
            let wait = Duration::from_micros(bucket.policy.wait_micros(verdict.reset));
            state.until.insert((first + bucket.place, bucket.key), known.at.plus(wait));
        }
    }

    /// Takes the denials of these buckets back. Call it after the counts have changed.
    pub fn forget(&self, route: &RouteLimit, buckets: &[Bucket]) {
        let (mut state, _) = self.now();
        state.generation += 1;
        let first = state.first_place(route);
        for bucket in buckets {
            state.until.remove(&(first + bucket.place, bucket.key));
        }
    }

    fn now(&self) -> (MutexGuard<'_, State>, Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.world.now();
        if now < state.latest {
            // The clock was set back. By it, what is remembered would last longer than Redis meant.
            state.until.clear();
            state.generation += 1;
            state.swept_at = now;
        }
        state.latest = now;
        (state, now)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).until.len()
    }
}

impl State {
    fn first_place(&mut self, route: &RouteLimit) -> usize {
        if let Some(first) = self.places.get(route) {
            return *first;
        }
        let first = self.next_place;
        self.next_place += route.policies.len();
        self.places.insert(route.clone(), first);
        first
    }

    /// Makes room for one more.
    fn make_room(&mut self, now: Timestamp) {
        let full = self.until.len() >= MAX_DENIALS;
        if full || now.since(self.swept_at) >= SWEEP {
            self.swept_at = now;
            self.until.retain(|_, until| *until > now);
        }
        let excess = self.until.len().saturating_sub(MAX_DENIALS - MAX_DENIALS / 10);
        if full && excess > 0 {
            let mut moments: Vec<Timestamp> = self.until.values().copied().collect();
            let (_, bound, _) = moments.select_nth_unstable(excess - 1);
            let bound = *bound;
            self.until.retain(|_, until| *until > bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::By;
    use quire_clock::ManualClock;

    fn denials() -> (std::sync::Arc<ManualClock>, Denials) {
        let clock = ManualClock::at(Timestamp::from_unix_seconds(1_700_000_000));
        (clock.clone(), Denials::new(World::with_clock(clock)))
    }

    fn route() -> RouteLimit {
        RouteLimit::parse("verify", "5/minute", By::Address, &[]).unwrap()
    }

    fn buckets(route: &RouteLimit, number: usize) -> Vec<Bucket<'_>> {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        vec![Bucket { policy: &route.policies[0], place: 0, key }]
    }

    /// Redis denied for another `wait` microseconds.
    fn deny(denials: &Denials, route: &RouteLimit, number: usize, wait: u64) {
        let buckets = buckets(route, number);
        let policy = buckets[0].policy;
        let verdict = Verdict { policy, denied: true, reset: wait + policy.tolerance_micros() };
        let known = denials.known(route, &buckets);
        denials.remember(route, &buckets, &[verdict], &known);
    }

    fn waits(denials: &Denials, route: &RouteLimit, number: usize) -> u64 {
        denials.known(route, &buckets(route, number)).waits[0]
    }

    #[test]
    fn denials_are_bounded_and_those_that_are_over_soonest_go_first() {
        let (_, denials) = denials();
        let route = route();
        for number in 0..MAX_DENIALS + 50_000 {
            deny(&denials, &route, number, 1_000_000 + u64::try_from(number).unwrap());
            assert!(denials.len() <= MAX_DENIALS);
        }
        assert_eq!(waits(&denials, &route, 0), 0);
        let last = MAX_DENIALS + 49_999;
        assert_eq!(waits(&denials, &route, last), 1_000_000 + u64::try_from(last).unwrap());
    }

    #[test]
    fn denials_that_are_over_are_forgotten() {
        let (clock, denials) = denials();
        let route = route();
        for number in 0..100 {
            deny(&denials, &route, number, 1_000_000);
        }
        clock.advance(Duration::from_secs(120));
        deny(&denials, &route, 100, 1_000_000);
        assert_eq!(denials.len(), 1);
    }

    #[test]
    fn an_answer_from_before_a_call_was_given_back_is_not_remembered() {
        let (_, denials) = denials();
        let route = route();
        let buckets = buckets(&route, 1);
        let known = denials.known(&route, &buckets);
        denials.forget(&route, &buckets);
        let policy = buckets[0].policy;
        let verdict = Verdict { policy, denied: true, reset: 1 + policy.tolerance_micros() };
        denials.remember(&route, &buckets, &[verdict], &known);
        assert_eq!(denials.len(), 0);
    }
}
