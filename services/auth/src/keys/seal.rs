//! Private keys at rest: sealed with AES-256-GCM, each bound to its `kid`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quire_clock::World;
use quire_identity::MasterSecret;

use super::KeyError;

/// What private keys are sealed with.
#[derive(Clone)]
pub struct Seals {
    current: [u8; 32],
    /// What they were sealed with before there was a secret for keys alone.
    before: Option<[u8; 32]>,
}

/// A private key that was unsealed.
pub struct Opened {
    pub private: Vec<u8>,
    /// Sealed under the older secret: to be sealed anew.
    pub outdated: bool,
}

const PURPOSE: &str = "auth signing keys";

impl Seals {
    /// `key_secret`: only auth knows it, so that the other services, which share the master secret, cannot open a
    /// key even with the database in hand. Without one, in development, the master secret serves.
    pub fn new(master: &MasterSecret, key_secret: Option<&MasterSecret>) -> Self {
        match key_secret {
            Some(secret) => Self { current: secret.derive(PURPOSE), before: Some(master.derive(PURPOSE)) },
            None => Self { current: master.derive(PURPOSE), before: None },
        }
    }

    /// Nonce and ciphertext in base64url.
    pub fn seal(&self, world: &World, kid: &str, private: &[u8]) -> Result<String, KeyError> {
        let nonce = world.bytes::<NONCE_LEN>();
        let mut sealed = private.to_vec();
        cipher(&self.current)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(kid), &mut sealed)
            .map_err(|_| KeyError::Generate)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    pub fn open(&self, kid: &str, sealed: &str) -> Result<Opened, KeyError> {
        match open(&self.current, kid, sealed) {
            Ok(private) => Ok(Opened { private, outdated: false }),
            Err(KeyError::Sealed) => {
                let before = self.before.as_ref().ok_or(KeyError::Sealed)?;
                Ok(Opened { private: open(before, kid, sealed)?, outdated: true })
            }
            Err(error) => Err(error),
        }
    }
}

fn open(key: &[u8; 32], kid: &str, sealed: &str) -> Result<Vec<u8>, KeyError> {
    let mut sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| KeyError::Damaged)?;
    let (nonce, sealed) = sealed.split_at_mut_checked(NONCE_LEN).ok_or(KeyError::Damaged)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::Damaged)?;
    let private = cipher(key).open_in_place(nonce, Aad::from(kid), sealed);
    Ok(private.map_err(|_| KeyError::Sealed)?.to_vec())
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has 32 bytes"))
}
