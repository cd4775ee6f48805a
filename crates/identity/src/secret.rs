//! The master secret, and the keys derived from it.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// Shorter secrets could be guessed.
const MIN_CHARACTERS: usize = 32;

/// One secret per installation, from which every other symmetric key is derived. Has no `Debug` or `Display`
/// that shows it.
#[derive(Clone, Debug)]
pub struct MasterSecret(SecretString);

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the master secret must have at least {MIN_CHARACTERS} characters")]
    TooShort,
}

impl MasterSecret {
    /// # Errors
    /// The secret is shorter than 32 characters.
    pub fn new(secret: SecretString) -> Result<Self, SecretError> {
        if secret.expose_secret().chars().count() < MIN_CHARACTERS {
            return Err(SecretError::TooShort);
        }
        Ok(Self(secret))
    }

    /// The key for one purpose: HMAC-SHA-256 of the purpose's name under the master secret, which is one block
    /// of HKDF-Expand (RFC 5869 section 2.3).
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret().as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        mac.update(&[1]);
        mac.finalize().into_bytes().into()
    }
}
