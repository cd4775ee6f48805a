//! Who may call a model at present: one gate for each model, shared by all jobs of the process.
//!
//! A provider that is busy is left alone for as long as it asked; then one call tries whether it lets anybody in, and
//! the others wait for that. Calls and tokens of a minute are bounded too, if the operator knows the provider's limits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::refusal::Busy;
use crate::writer::WriteError;

/// A provider that does not say how long it wants to be left alone.
const PAUSE: Duration = Duration::from_secs(30);
/// Others look again so long after one has gone to try.
const TRYING: Duration = Duration::from_secs(1);
const MINUTE: f64 = 60.0;

pub struct Gate {
    state: Mutex<State>,
}

struct State {
    breaker: Breaker,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breaker {
    /// Everybody may call.
    Closed,
    /// Nobody may before this moment; then one may try.
    Open { until: Instant },
    /// One has gone to try.
    Trying,
}

/// One call's right to be made. Dropped before there was an answer, it gives back what it took.
pub struct Pass {
    gate: Arc<Gate>,
    tries: bool,
    tokens: f64,
    answered: bool,
}

impl Gate {
    /// 0: no bound.
    pub fn new(requests_per_minute: u32, tokens_per_minute: u32) -> Arc<Self> {
        let bucket = |capacity: u32| (capacity > 0).then(|| Bucket::new(f64::from(capacity), Instant::now()));
        let (requests, tokens) = (bucket(requests_per_minute), bucket(tokens_per_minute));
        Arc::new(Self { state: Mutex::new(State { breaker: Breaker::Closed, requests, tokens }) })
    }

    /// Lets a call of about so many tokens through, at the moment `now`.
    ///
    /// # Errors
    /// [`WriteError::Wait`] with the time after which it may pass.
    pub fn enter(self: &Arc<Self>, tokens: i64, now: Instant) -> Result<Pass, WriteError> {
        let wait =
            |after| WriteError::Wait { reason: "waiting for the model".to_owned(), after: Some(after) };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let tokens = tokens as f64;
        let mut state = self.state();
        let tries = match state.breaker {
            Breaker::Closed => false,
            Breaker::Open { until } if until <= now => true,
            Breaker::Open { until } => return Err(wait(until - now)),
            Breaker::Trying => return Err(wait(TRYING)),
        };
        let State { requests, tokens: of_tokens, .. } = &mut *state;
        let waits = [
            requests.as_mut().map(|bucket| bucket.wait(1.0, now)),
            of_tokens.as_mut().map(|bucket| bucket.wait(tokens, now)),
        ];
        let longest = waits.into_iter().flatten().max().unwrap_or_default();
        if !longest.is_zero() {
            return Err(wait(longest));
        }
        requests.iter_mut().for_each(|bucket| bucket.take(1.0));
        of_tokens.iter_mut().for_each(|bucket| bucket.take(tokens));
        if tries {
            state.breaker = Breaker::Trying;
        }
        Ok(Pass { gate: self.clone(), tries, tokens, answered: false })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The provider has answered at the moment `now`: with what it is about to say, or that it is busy.
    pub fn answered(&mut self, busy: Option<Busy>, now: Instant) {
        self.answered = true;
        let mut state = self.gate.state();
        match busy {
            Some(Busy { after }) => {
                let until = now + after.unwrap_or(PAUSE);
                let until = match state.breaker {
                    // Calls that were under way together must not shorten what one of them was told.
                    Breaker::Open { until: known } => known.max(until),
                    Breaker::Closed | Breaker::Trying => until,
                };
                state.breaker = Breaker::Open { until };
            }
            None if self.tries => state.breaker = Breaker::Closed,
            None => {}
        }
    }

    /// How many tokens it really were.
    pub fn used(&self, tokens: i64) {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let more = tokens as f64 - self.tokens;
        self.gate.state().tokens.iter_mut().for_each(|bucket| bucket.take(more));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let mut state = self.gate.state();
        if self.tries && state.breaker == Breaker::Trying {
            // The next one may try.
            state.breaker = Breaker::Open { until: Instant::now() };
        }
        state.requests.iter_mut().for_each(|bucket| bucket.take(-1.0));
        state.tokens.iter_mut().for_each(|bucket| bucket.take(-self.tokens));
    }
}

/// A token bucket that fills up within a minute.
struct Bucket {
    capacity: f64,
    /// Below zero: more was used than was asked for.
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(capacity: f64, now: Instant) -> Self {
        Self { capacity, level: capacity, at: now }
    }

    /// How long until so much is there; more than the bucket holds waits for a full one.
    fn wait(&mut self, amount: f64, now: Instant) -> Duration {
        let filled = now.saturating_duration_since(self.at).as_secs_f64() * self.capacity / MINUTE;
        self.level = (self.level + filled).min(self.capacity);
        self.at = self.at.max(now);
        let missing = amount.min(self.capacity) - self.level;
        Duration::try_from_secs_f64(missing * MINUTE / self.capacity).unwrap_or_default()
    }

    fn take(&mut self, amount: f64) {
        self.level = (self.level - amount).min(self.capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Duration = Duration::from_secs(30);

    fn waits(gate: &Arc<Gate>, tokens: i64, now: Instant) -> Duration {
        match gate.enter(tokens, now) {
            Err(WriteError::Wait { after: Some(after), .. }) => after,
            Err(error) => panic!("{error:?}"),
            Ok(_) => Duration::ZERO,
        }
    }

    #[test]
    fn a_busy_provider_is_asked_once_in_the_time_it_wants() {
        let (gate, start) = (Gate::new(0, 0), Instant::now());
        let mut calls = 0;
        let mut refused = 0;
        // Fifty jobs, each looking every second for four minutes; for two of them the provider is busy.
        for second in 0..240 {
            let now = start + Duration::from_secs(second);
            for _ in 0..50 {
                let Ok(mut pass) = gate.enter(10, now) else { continue };
                calls += 1;
                let busy = second < 120;
                pass.answered(busy.then_some(Busy { after: Some(ASKED) }), now);
                refused += usize::from(busy);
            }
        }
        assert_eq!(refused, 4, "at 0, 30, 60 and 90 seconds");
        assert_eq!(calls - refused, 120 * 50);
    }

    #[test]
    fn one_tries_and_the_others_wait_for_it() {
        let (gate, start) = (Gate::new(0, 0), Instant::now());
        gate.enter(1, start).unwrap().answered(Some(Busy { after: Some(ASKED) }), start);
        assert_eq!(waits(&gate, 1, start), ASKED);
        let later = start + ASKED;
        let trying = gate.enter(1, later).unwrap();
        assert_eq!(waits(&gate, 1, later), TRYING);
        drop(trying);
        // It broke off without an answer, so another one tries.
        let mut trying = gate.enter(1, Instant::now() + ASKED).unwrap();
        trying.answered(None, later);
        assert_eq!(waits(&gate, 1, later), Duration::ZERO);
    }

    #[test]
    fn a_call_that_was_under_way_does_not_shorten_the_pause() {
        let (gate, start) = (Gate::new(0, 0), Instant::now());
        let (mut first, mut second) = (gate.enter(1, start).unwrap(), gate.enter(1, start).unwrap());
        first.answered(Some(Busy { after: Some(ASKED) }), start);
        second.answered(Some(Busy { after: Some(Duration::from_secs(1)) }), start);
        assert_eq!(waits(&gate, 1, start), ASKED);
        let mut third = gate.enter(1, start + ASKED).unwrap();
        third.answered(Some(Busy { after: None }), start + ASKED);
        assert_eq!(waits(&gate, 1, start + ASKED), PAUSE);
    }

    #[test]
    fn calls_and_tokens_of_a_minute_are_bounded() {
        let (gate, start) = (Gate::new(2, 600), Instant::now());
        let passed = |pass: Result<Pass, WriteError>| {
            let mut pass = pass.unwrap();
            pass.answered(None, start);
            pass
        };
        passed(gate.enter(10, start));
        drop(gate.enter(10, start).unwrap());
        passed(gate.enter(10, start)).used(580);
        // Two calls are all for now, and the tokens are nearly used up.
        assert_eq!(waits(&gate, 1, start).as_secs(), 30);
        assert_eq!(waits(&gate, 600, start).as_secs(), 59);
        // More than a minute holds must not wait for ever.
        assert_eq!(waits(&gate, 100_000, start + Duration::from_secs(60)), Duration::ZERO);
    }
}
