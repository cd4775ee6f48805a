//! Free key-value pairs on objects, within Stripe's limits.

use std::collections::BTreeMap;

use crate::form::Params;
use crate::record::Metadata;
use crate::refusal::Refusal;

const MAX_KEYS: usize = 50;
const MAX_KEY_CHARS: usize = 40;
const MAX_VALUE_CHARS: usize = 500;

/// What a request wants to change. A key with an empty value goes; `metadata=` takes all keys away.
pub(crate) struct Changes {
    clear: bool,
    pairs: BTreeMap<String, String>,
}

impl Changes {
    /// Takes `metadata` out of the parameters.
    pub(crate) fn take(params: &mut Params) -> Result<Self, Refusal> {
        if params.take_cleared("metadata") {
            return Ok(Self { clear: true, pairs: BTreeMap::new() });
        }
        let pairs = params.named_texts("metadata")?;
        let too_long = |(key, value): (&String, &String)| {
            key.chars().count() > MAX_KEY_CHARS || value.chars().count() > MAX_VALUE_CHARS
        };
        if pairs.iter().any(too_long) {
            return Err(out_of_bounds(params));
        }
        Ok(Self { clear: false, pairs })
    }

    /// The pairs after the change.
    pub(crate) fn applied_to(self, old: &Metadata, params: &Params) -> Result<Metadata, Refusal> {
        let mut metadata = if self.clear { Metadata::new() } else { old.clone() };
        for (key, value) in self.pairs {
            if value.is_empty() {
                metadata.remove(&key);
            } else {
                metadata.insert(key, value);
            }
        }
        if metadata.len() > MAX_KEYS { Err(out_of_bounds(params)) } else { Ok(metadata) }
    }
}

/// Takes the `metadata` of a new object out of the parameters.
pub(crate) fn take(params: &mut Params) -> Result<Metadata, Refusal> {
    Changes::take(params)?.applied_to(&Metadata::new(), params)
}

fn out_of_bounds(params: &Params) -> Refusal {
    let message = format!(
        "Metadata can have up to {MAX_KEYS} keys, with names of up to {MAX_KEY_CHARS} and values of up to \
         {MAX_VALUE_CHARS} characters."
    );
    Refusal::parameter("parameter_invalid_string", params.full("metadata"), message)
}
