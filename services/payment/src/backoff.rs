//! How long to wait before the next try.

use std::time::Duration;

use quire_clock::World;

/// A random time from zero to `first * 2^attempt`, never above `longest`. `attempt` counts from 0.
///
/// Source: Marc Brooker, "Exponential Backoff And Jitter" (AWS, 2015), "full jitter": many callers that failed
/// together do not come back together.
pub(crate) fn full_jitter(world: &World, first: Duration, longest: Duration, attempt: u32) -> Duration {
    let ceiling = first.saturating_mul(2_u32.saturating_pow(attempt)).min(longest);
    let ceiling = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX);
    let random = u128::from(u64::from_le_bytes(world.bytes::<8>()));
    // Maps the whole range of u64 onto 0..=ceiling.
    let scaled = (random * (u128::from(ceiling) + 1)) >> 64;
    Duration::from_micros(u64::try_from(scaled).unwrap_or(ceiling))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quire_clock::Entropy;

    use super::*;

    struct Same(u8);

    impl Entropy for Same {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    #[test]
    fn the_wait_doubles_up_to_its_longest_and_starts_at_zero() {
        let world = |byte| World::system().with_entropy(Arc::new(Same(byte)));
        let wait = |byte, attempt| {
            full_jitter(&world(byte), Duration::from_millis(100), Duration::from_secs(1), attempt)
        };
        assert_eq!(wait(0xff, 0), Duration::from_millis(100));
        assert_eq!(wait(0xff, 2), Duration::from_millis(400));
        assert_eq!(wait(0xff, 40), Duration::from_secs(1));
        assert_eq!(wait(0, 5), Duration::ZERO);
    }
}
