//! Time, randomness and ids, passed in.
//!
//! Nothing in Quire reads the wall clock or the random source by itself: it is given a [`World`]. Tests give
//! one whose clock they turn by hand, so that expiry and backoff are tested without waiting.

mod timestamp;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

pub use timestamp::{Timestamp, TimestampError};

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// The present moment, UTC.
    fn now(&self) -> Timestamp;
}

/// Gives unpredictable bytes, fit for secrets.
pub trait Entropy: Send + Sync {
    /// Fills the whole buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// Is told when the program has reached a named place between two durable steps. Tests of crashes end the process there;
/// otherwise nothing happens.
pub trait FailPoints: Send + Sync {
    /// The program is at this place now. May not return.
    fn reach(&self, point: &'static str);
}

/// Nothing happens anywhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFailPoints;

impl FailPoints for NoFailPoints {
    fn reach(&self, _point: &'static str) {}
}

/// What a program cannot compute: what time it is, and a random number; and where tests let it die.
#[derive(Clone)]
pub struct World {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub fail_points: Arc<dyn FailPoints>,
}

impl World {
    /// The machine's clock and the operating system's random source.
    pub fn system() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// The same random source with another clock.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock, entropy: Arc::new(SystemEntropy), fail_points: Arc::new(NoFailPoints) }
    }

    /// The same world with another random source.
    pub fn with_entropy(self, entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, ..self }
    }

    /// The same world with places where it may end.
    pub fn with_fail_points(self, fail_points: Arc<dyn FailPoints>) -> Self {
        Self { fail_points, ..self }
    }

    /// Says that a place between two durable steps is reached. Names are `<service>.<flow>.<what is done>`.
    pub fn reach(&self, point: &'static str) {
        self.fail_points.reach(point);
    }

    /// The present moment, UTC.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// `N` unpredictable bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut buffer = [0; N];
        self.entropy.fill(&mut buffer);
        buffer
    }

    /// A new UUIDv7: unique, and ordered by time to the millisecond.
    pub fn id(&self) -> String {
        let millis = u64::try_from(self.now().unix_micros() / 1000).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes::<10>()).into_uuid().to_string()
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_unix_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// The operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer).expect("the operating system has a random source");
    }
}

/// A clock that stands still until it is turned.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `start`.
    pub fn at(start: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(start.unix_micros())))
    }

    /// Turns the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_seven_and_ordered_by_time() {
        let clock = ManualClock::at(Timestamp::from_unix_micros(1_700_000_000_000_000));
        let world = World::with_clock(clock.clone());
        let first = world.id();
        clock.advance(Duration::from_millis(1));
        let second = world.id();
        assert_eq!(&first[14..15], "7");
        assert!(first < second);
    }
}
