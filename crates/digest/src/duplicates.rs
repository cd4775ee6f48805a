//! Finds sentences that say again, nearly word for word, what an earlier one said.

use std::collections::HashMap;

use crate::stems::stable_hash;

/// Shared part of the shorter sentence's shingles from which two sentences count as the same.
const SAME: f64 = 0.8;
const SHINGLE: usize = 5;
/// Shingles that stand in more sentences than this are formulas and tell nothing.
const COMMON: usize = 64;

/// Remembers sentences by their shingles of five words (Broder, "On the resemblance and containment of
/// documents", 1997).
#[derive(Default)]
pub struct Seen {
    postings: HashMap<u64, Vec<u32>>,
    whole: HashMap<u64, ()>,
    sizes: Vec<u32>,
}

impl Seen {
    /// Whether a sentence like this one is known; if not, it is known from now on. `words` in lower case.
    pub fn before(&mut self, words: &[&str]) -> bool {
        let whole = stable_hash(words.iter().copied());
        if self.whole.contains_key(&whole) {
            return true;
        }
        let mut shingles: Vec<u64> =
            words.windows(SHINGLE).map(|window| stable_hash(window.iter().copied())).collect();
        shingles.sort_unstable();
        shingles.dedup();
        let mut shared: HashMap<u32, u32> = HashMap::new();
        for shingle in &shingles {
            for sentence in self.postings.get(shingle).into_iter().flatten() {
                *shared.entry(*sentence).or_default() += 1;
            }
        }
        let same = shared.iter().any(|(sentence, count)| {
            let shorter = self.sizes[*sentence as usize].min(shingles.len() as u32);
            f64::from(*count) >= SAME * f64::from(shorter) && *count >= 2
        });
        if same {
            return true;
        }
        let id = self.sizes.len() as u32;
        self.sizes.push(shingles.len() as u32);
        self.whole.insert(whole, ());
        for shingle in shingles {
            let posting = self.postings.entry(shingle).or_default();
            if posting.len() < COMMON {
                posting.push(id);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_with_one_word_more_is_the_same_and_another_is_not() {
        let mut seen = Seen::default();
        let first: Vec<&str> =
            "the sea rises twice on every day of the whole year in all harbours".split(' ').collect();
        let longer: Vec<&str> =
            "indeed the sea rises twice on every day of the whole year in all harbours".split(' ').collect();
        let other: Vec<&str> = "the moon is the reason for the tides in all harbours".split(' ').collect();
        assert!(!seen.before(&first));
        assert!(seen.before(&first));
        assert!(seen.before(&longer));
        assert!(!seen.before(&other));
    }
}
