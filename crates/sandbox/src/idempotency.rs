//! `Idempotency-Key`: a repeated request gets the saved answer, and two at once do not both run.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use crate::refusal::Refusal;

/// The keys whose requests are being carried out.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<HashSet<String>>>);

/// The exclusive use of one key, until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    key: String,
    running: Arc<Mutex<HashSet<String>>>,
}

impl Running {
    /// Takes a key, unless a request with it is under way.
    pub(crate) fn claim(&self, key: &str) -> Result<Claim, Refusal> {
        let mut keys = self.0.lock().expect("no holder panics");
        if !keys.insert(key.to_owned()) {
            return Err(Refusal::running());
        }
        Ok(Claim { key: key.to_owned(), running: self.0.clone() })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.running.lock().expect("no holder panics").remove(&self.key);
    }
}

/// A digest of the address and the parameters, whatever the order in which these were sent.
pub(crate) fn fingerprint(path: &str, pairs: &[(String, String)]) -> String {
    let mut sorted: Vec<_> = pairs.iter().collect();
    // Stable, so that the order of `a[]=1&a[]=2` counts.
    sorted.sort_by(|left, right| left.0.cmp(&right.0));
    let mut hash = Sha256::new();
    for text in std::iter::once(path).chain(sorted.into_iter().flat_map(|(name, value)| [&**name, &**value]))
    {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::pairs;

    #[test]
    fn a_key_is_free_again_when_its_claim_is_dropped() {
        let running = Running::default();
        let claim = running.claim("k").unwrap();
        assert!(running.claim("k").is_err());
        assert!(running.claim("other").is_ok());
        drop(claim);
        assert!(running.claim("k").is_ok());
    }

    #[test]
    fn the_fingerprint_ignores_the_order_of_names_but_nothing_else() {
        let of = |body: &str| fingerprint("/v1/refunds", &pairs(body.as_bytes()));
        assert_eq!(of("a=1&b=2"), of("b=2&a=1"));
        for other in ["a=1&b=3", "a=1", "a=1b=2", "a=&1b=2", "c=1&b=2"] {
            assert_ne!(of("a=1&b=2"), of(other));
        }
        assert_ne!(of("a[]=1&a[]=2"), of("a[]=2&a[]=1"));
        assert_ne!(of("a=1"), fingerprint("/v1/other", &pairs(b"a=1")));
    }
}
