//! How webhooks misbehave on purpose.

use serde::{Deserialize, Serialize};

/// The most extra copies of one event.
pub(crate) const MAX_DUPLICATES: u32 = 100;

/// Faults of delivery that a receiver must withstand. By default there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Each event is delivered this many extra times, at the same moment. At most 100.
    pub duplicates: u32,
    /// Each event is first delivered with a signature made with a secret that no one knows.
    pub wrong_signature_first: bool,
    /// The events that are ready together go out one after another in an order drawn from `seed`.
    pub shuffle: bool,
    /// Where the order of `shuffle` starts from.
    pub seed: u64,
    /// Nothing is delivered until it is released.
    pub hold: bool,
}

/// Puts the items in an order that the seed alone determines (Fisher and Yates, drawing from SplitMix64).
pub(crate) fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        let bound = u64::try_from(last).unwrap_or(u64::MAX) + 1;
        let pick = usize::try_from(split_mix(&mut state) % bound).unwrap_or(last);
        items.swap(last, pick);
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_order_and_another_seed_another() {
        let order = |seed| {
            let mut items: Vec<u32> = (0..20).collect();
            shuffle(&mut items, seed);
            items
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let mut sorted = order(1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<u32>>());
    }

    #[test]
    fn the_generator_gives_the_published_first_values() {
        // From the reference implementation of SplitMix64 with the seed 1234567.
        let mut state = 1_234_567;
        assert_eq!(split_mix(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(split_mix(&mut state), 3_203_168_211_198_807_973);
    }
}
