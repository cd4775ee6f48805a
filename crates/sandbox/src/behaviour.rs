//! How webhooks misbehave on purpose: how often, in which order and when events are sent.

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// The most extra copies of one event.
const MAX_DUPLICATES: u32 = 100;

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
    /// Where all chance starts from: the order of `shuffle`, and what [`Transit`](crate::Transit) draws.
    pub seed: u64,
    /// Nothing is delivered until it is released.
    pub hold: bool,
}

impl Behaviour {
    /// Refuses what is out of bounds.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if self.duplicates > MAX_DUPLICATES {
            let message = "At most 100 duplicates are allowed.";
            return Err(Refusal::parameter("parameter_invalid", "duplicates", message));
        }
        Ok(())
    }
}
