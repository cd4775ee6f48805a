//! What one process knows of an upstream. Moments are microseconds on the clock of the process.
//!
//! The scripts `enter.lua` and `report.lua` do the same in Redis.

use super::{Bounds, Breaker};

/// Microseconds in which a bucket fills up.
const MINUTE: f64 = 60_000_000.0;

#[derive(Debug, Default)]
pub(super) struct Account {
    calls: Bucket,
    cost: Bucket,
    /// The upstream is busy until then; what comes after must be tried. `None`: everybody may call.
    open_until: Option<i64>,
    /// Redis was not told of that.
    untold: bool,
    trial: Option<Trial>,
}

/// What Redis may not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The upstream is busy for so long, in microseconds; not above zero once one may try.
    pub busy: i64,
    /// Redis was not told.
    pub untold: bool,
}

#[derive(Debug)]
struct Trial {
    /// `None`: a call of another process, of which only Redis can say how it goes on.
    token: Option<String>,
    until: i64,
}

/// Whether a call may pass. Waits are in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Passes {
        /// It is the one that tries.
        tries: bool,
    },
    /// The upstream asked to be left alone.
    Busy { wait: i64 },
    /// Another call tries; it is given up after that.
    Trying { wait: i64 },
    /// A bucket does not hold enough.
    Rate { wait: i64 },
}

impl Account {
    /// Looks whether a call may pass, and changes nothing.
    pub fn look(&self, bounds: &Bounds, cost: f64, now: i64) -> Entry {
        if let Some(wait) = self.busy(now) {
            return Entry::Busy { wait };
        }
        if let Some(trial) = self.trial.as_ref().filter(|trial| trial.until > now && trial.token.is_some()) {
            return Entry::Trying { wait: trial.until - now };
        }
        let calls = self.calls.wait(bounds.calls_per_minute, 1.0, now);
        let wait = calls.max(self.cost.wait(bounds.cost_per_minute, cost, now));
        if wait > 0 { Entry::Rate { wait } } else { Entry::Passes { tries: self.open_until.is_some() } }
    }

    /// How long the upstream wants to be left alone.
    pub fn busy(&self, now: i64) -> Option<i64> {
        self.open_until.map(|until| until - now).filter(|wait| *wait > 0)
    }

    /// `None` if everybody may call.
    pub fn known(&self, now: i64) -> Option<Known> {
        self.open_until.map(|until| Known { busy: until - now, untold: self.untold })
    }

    /// Whether Redis knows what the upstream said last.
    pub fn told(&mut self, redis_knows: bool) {
        self.untold = !redis_knows;
    }

    pub fn breaker(&self, now: i64) -> Breaker {
        match (self.open_until, &self.trial) {
            (None, _) => Breaker::Closed,
            (Some(_), Some(trial)) if trial.until > now => Breaker::Trying,
            (Some(_), _) => Breaker::Open,
        }
    }

    /// Takes a call of that cost.
    pub fn take(&mut self, bounds: &Bounds, cost: f64, now: i64) {
        self.add(bounds, (1.0, cost), now);
    }

    /// Adds to what is taken; less than nothing gives back.
    pub fn add(&mut self, bounds: &Bounds, (calls, cost): (f64, f64), now: i64) {
        self.calls.add(bounds.calls_per_minute, calls, now);
        self.cost.add(bounds.cost_per_minute, cost, now);
    }

    pub fn try_as(&mut self, token: &str, until: i64) {
        self.trial = Some(Trial { token: Some(token.to_owned()), until });
    }

    /// A call of another process tries. Without Redis this process does not wait for it.
    pub fn tries_elsewhere(&mut self, until: i64, now: i64) {
        let own = self.trial.as_ref().is_some_and(|trial| trial.token.is_some() && trial.until > now);
        if !own {
            self.trial = Some(Trial { token: None, until });
        }
    }

    /// Nobody may call before then. What is known already is not shortened: calls that were under way together may be
    /// told different times.
    pub fn open(&mut self, until: i64) {
        self.open_until = Some(self.open_until.map_or(until, |known| known.max(until)));
    }

    pub fn close(&mut self) {
        *self = Self { calls: self.calls, cost: self.cost, ..Self::default() };
    }

    /// The call with this token tries no longer. If it got in, everybody may call, unless another one was told
    /// meanwhile to wait.
    pub fn tried(&mut self, token: &str, got_in: bool, now: i64) {
        if self.trial.as_ref().is_none_or(|trial| trial.token.as_deref() != Some(token)) {
            return;
        }
        self.trial = None;
        if got_in && self.busy(now).is_none() {
            self.open_until = None;
        }
    }
}

/// A token bucket that fills up within a minute, kept as what is missing in it, so that its size may change.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// May be more than the bucket holds: a call cost more than was asked for.
    missing: f64,
    at: i64,
}

impl Bucket {
    fn missing(&self, size: u32, now: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let elapsed = now.saturating_sub(self.at).max(0) as f64;
        (self.missing - elapsed * f64::from(size) / MINUTE).max(0.0)
    }

    /// Until so much is there; more than the bucket holds waits for a full one. 0: at once.
    fn wait(&self, size: u32, amount: f64, now: i64) -> i64 {
        if size == 0 {
            return 0;
        }
        let size_held = f64::from(size);
        let excess = self.missing(size, now) + amount.min(size_held) - size_held;
        if excess <= 0.0 {
            return 0;
        }
        #[expect(clippy::cast_possible_truncation, reason = "minutes")]
        let wait = (excess * MINUTE / size_held).ceil() as i64;
        wait
    }

    fn add(&mut self, size: u32, amount: f64, now: i64) {
        if size > 0 {
            self.missing = (self.missing(size, now) + amount).max(0.0);
            self.at = now;
        }
    }
}
