//! What a call is counted under.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{By, Policy, RouteLimit};

/// The keys of one call: what each kind of policy counts it under. A policy whose key the call does not have is
/// left out of its check.
#[derive(Clone, Default)]
pub struct Keys {
    address: Option<String>,
    session: Option<String>,
    user: Option<String>,
    mailbox: Option<String>,
}

impl Keys {
    pub fn address(mut self, key: impl Into<String>) -> Self {
        self.address = Some(key.into());
        self
    }

    pub fn session(mut self, key: impl Into<String>) -> Self {
        self.session = Some(key.into());
        self
    }

    pub fn user(mut self, key: impl Into<String>) -> Self {
        self.user = Some(key.into());
        self
    }

    pub fn mailbox(mut self, key: impl Into<String>) -> Self {
        self.mailbox = Some(key.into());
        self
    }

    fn get(&self, by: By) -> Option<&str> {
        match by {
            By::Address => self.address.as_deref(),
            By::Session => self.session.as_deref(),
            By::User => self.user.as_deref(),
            By::Mailbox => self.mailbox.as_deref(),
            By::Everybody => Some(""),
        }
    }
}

/// What a caller is counted under, as an HMAC: Redis never sees an address in clear, and every key costs the
/// same memory however long it was.
pub(crate) type Key = [u8; 32];

/// One policy, and the key that a call is counted under there.
pub(crate) struct Bucket<'a> {
    pub policy: &'a Policy,
    /// Which policy of its route this is.
    pub place: usize,
    pub key: Key,
}

impl<'a> Bucket<'a> {
    /// Those that a call with these keys falls into, in the order of the route's policies.
    pub fn of(route: &'a RouteLimit, keys: &Keys, hash_key: &[u8; 32]) -> Vec<Self> {
        let mut buckets: Vec<Self> = Vec::with_capacity(route.policies.len());
        for (place, policy) in route.policies.iter().enumerate() {
            let Some(key) = keys.get(policy.by) else { continue };
            let same = buckets.iter().find(|bucket| bucket.policy.by == policy.by);
            let key = same.map_or_else(|| hash(hash_key, policy.by, key), |bucket| bucket.key);
            buckets.push(Self { policy, place, key });
        }
        buckets
    }
}

/// The kind is part of it: a route that counts by another kind from now on starts anew, even if its policies keep
/// their names and a user is written like an address.
fn hash(hash_key: &[u8; 32], by: By, key: &str) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(hash_key).expect("HMAC takes keys of any length");
    mac.update(by.as_str().as_bytes());
    mac.update(&[0]);
    mac.update(key.as_bytes());
    mac.finalize().into_bytes().into()
}
