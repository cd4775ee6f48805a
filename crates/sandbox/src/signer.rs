//! The secrets that sign deliveries, and their rotation.

use crate::refusal::Refusal;
use crate::signature::sign_with_all;

/// Stripe lets an old secret live on for at most a day.
const MAX_OVERLAP_SECONDS: u32 = 24 * 60 * 60;

/// Signs with all secrets that are valid at a time.
pub(crate) struct Signer {
    current: Vec<String>,
    /// Secrets that were replaced, each with the time at which it ends, in seconds since the Unix epoch.
    retiring: Vec<(String, i64)>,
}

impl Signer {
    pub(crate) fn new(secrets: Vec<String>) -> Self {
        Self { current: secrets, retiring: Vec::new() }
    }

    /// The signature header of a body. `now` decides which secrets sign, `timestamp` is what they sign.
    pub(crate) fn header(&self, now: i64, timestamp: i64, body: &[u8]) -> String {
        sign_with_all(&self.valid(now), timestamp, body)
    }

    /// How many secrets sign at a time.
    pub(crate) fn count(&self, now: i64) -> usize {
        self.valid(now).len()
    }

    /// Replaces the secrets. The old ones sign along for the overlap. Refusals never repeat a secret.
    pub(crate) fn rotate(
        &mut self,
        secrets: Vec<String>,
        overlap_seconds: u32,
        now: i64,
    ) -> Result<(), Refusal> {
        if secrets.is_empty() || secrets.iter().any(String::is_empty) {
            let message = "At least one secret is needed, and none may be empty.";
            return Err(Refusal::parameter("parameter_invalid", "secrets", message));
        }
        if overlap_seconds > MAX_OVERLAP_SECONDS {
            let message = "At most 86400 seconds, a day, are allowed.";
            return Err(Refusal::parameter("parameter_invalid", "overlap_seconds", message));
        }
        let old = std::mem::replace(&mut self.current, secrets);
        self.retiring.extend(old.into_iter().map(|secret| (secret, now + i64::from(overlap_seconds))));
        self.retiring.retain(|(_, end)| *end > now);
        Ok(())
    }

    /// The old secrets first, as Stripe's header has them in no particular order.
    fn valid(&self, now: i64) -> Vec<&str> {
        let retiring = self.retiring.iter().filter(|(_, end)| *end > now).map(|(secret, _)| secret);
        retiring.chain(&self.current).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_secrets_sign_during_the_overlap_and_then_only_the_new_one() {
        let mut signer = Signer::new(vec!["old".to_owned()]);
        signer.rotate(vec!["new".to_owned()], 60, 1_000).unwrap();
        for (now, secrets) in [(1_000, &["old", "new"][..]), (1_059, &["old", "new"]), (1_060, &["new"])] {
            assert_eq!(signer.header(now, now, b"x"), sign_with_all(secrets, now, b"x"), "{now}");
        }
        signer.rotate(vec!["newest".to_owned()], 0, 1_010).unwrap();
        assert_eq!(signer.header(1_011, 7, b"x"), sign_with_all(&["old", "newest"], 7, b"x"));
    }

    #[test]
    fn a_rotation_to_nothing_is_refused() {
        let mut signer = Signer::new(vec!["old".to_owned()]);
        assert!(signer.rotate(Vec::new(), 0, 0).is_err());
        assert!(signer.rotate(vec![String::new()], 0, 0).is_err());
        assert!(signer.rotate(vec!["new".to_owned()], 86_401, 0).is_err());
        assert_eq!(signer.count(0), 1);
    }
}
