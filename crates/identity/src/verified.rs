//! Tokens that were verified lately, so that the signature of one is checked once and not at every call. Its time,
//! its key and its session are still judged at every call.

use std::sync::Arc;

use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use crate::access::Verified;

/// Some 200 bytes each.
const MOST: usize = 16_384;

/// A token whose signature was found genuine.
pub(crate) struct Genuine {
    /// Of the key that signed it: when that key is revoked, so is this.
    pub(crate) kid: String,
    pub(crate) token: Verified,
}

/// Keyed by the token's hash: a lookup tells nothing about other tokens, and no token lies in memory for it.
pub(crate) struct VerifiedTokens(Cache<[u8; 32], Arc<Genuine>>);

impl VerifiedTokens {
    pub(crate) fn new() -> Self {
        Self(Cache::new(MOST))
    }

    pub(crate) fn key(token: &str) -> [u8; 32] {
        Sha256::digest(token.as_bytes()).into()
    }

    pub(crate) fn get(&self, key: &[u8; 32]) -> Option<Arc<Genuine>> {
        self.0.get(key)
    }

    pub(crate) fn insert(&self, key: [u8; 32], genuine: Arc<Genuine>) {
        self.0.insert(key, genuine);
    }
}
