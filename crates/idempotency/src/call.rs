//! A request under a key.

use prost::Message;
use quire_fault::{Rule, Violation};
use sha2::{Digest, Sha256};

use crate::error::IdempotencyError;

const MAX_KEY: usize = 255;

/// Who asks what under which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The user's id.
    pub(crate) caller: String,
    /// The operation, such as `create_checkout`.
    pub(crate) route: &'static str,
    /// Empty: none.
    pub(crate) key: String,
    pub(crate) request_hash: String,
}

impl Call {
    /// `request`: everything that decides what is done, without the key.
    pub fn new(caller: &str, route: &'static str, key: &str, request: &impl Message) -> Self {
        Self {
            caller: caller.to_owned(),
            route,
            key: key.to_owned(),
            request_hash: hex::encode(Sha256::digest(request.encode_to_vec())),
        }
    }

    pub(crate) fn checked(self) -> Result<Self, IdempotencyError> {
        let acceptable = self.key.len() <= MAX_KEY && self.key.bytes().all(|byte| byte.is_ascii_graphic());
        if acceptable {
            return Ok(self);
        }
        let rule = Rule::Value("an idempotency key has 1 to 255 visible ASCII characters".to_owned());
        Err(IdempotencyError::Key(Violation::new("idempotency_key", rule)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_visible_ascii() {
        let call = |key: &str| Call::new("ada", "route", key, &String::new()).checked();
        assert!(call("3b2f-!~").is_ok());
        assert!(call(&"k".repeat(255)).is_ok());
        for key in ["two words", "é", "\0", "tab\t", &"k".repeat(256)] {
            assert!(matches!(call(key), Err(IdempotencyError::Key(_))), "{key}");
        }
    }
}
