//! Rate limits and seen-keys, in process or in Redis.
//!
//! The algorithm is GCRA, the generic cell rate algorithm of ITU-T I.371: per key it keeps one number, the
//! theoretical arrival time, so `5/minute` lets five calls through at once and then one every twelve seconds.
//! All policies of a route are judged together: a call that one of them denies costs none of them anything.
//!
//! With Redis, every replica shares one count. When Redis does not answer, each process limits by itself with
//! the same policies: the answer may then be too generous by the number of replicas, but it is never open.

mod decision;
mod link;
mod memory;
mod policy;
mod redis;
mod seen;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use quire_clock::World;
use sha2::Sha256;

pub use decision::Decision;
pub use link::LinkError;
pub use policy::{Policy, PolicyError, RouteLimit};
pub use seen::SeenKeys;

/// Decides whether one more call is allowed. Cheap to clone; clones share their counts.
#[derive(Clone)]
pub struct Limiter {
    backend: Backend,
    world: World,
    hash_key: [u8; 32],
}

#[derive(Clone)]
enum Backend {
    /// Counts of this process alone.
    Memory(Arc<memory::Memory>),
    /// Counts shared by all replicas, and those of this process for when they are out of reach.
    Redis { shared: Arc<redis::Redis>, local: Arc<memory::Memory> },
}

/// What a caller is counted under, as an HMAC: Redis never sees an address in clear, and every key costs the
/// same memory however long it was.
type Key = [u8; 32];

impl Limiter {
    /// A limiter that counts in this process only.
    pub fn memory(world: World) -> Self {
        let hash_key = world.bytes();
        Self { backend: Backend::Memory(Arc::default()), world, hash_key }
    }

    /// A limiter that counts in Redis. Waits at most two seconds for Redis; if it does not answer, the process
    /// limits by itself until it does. `hash_key` must be the same in all replicas.
    ///
    /// # Errors
    /// The address is not a Redis URL.
    pub async fn connect(redis_url: &str, world: World, hash_key: [u8; 32]) -> Result<Self, LinkError> {
        let shared = Arc::new(redis::Redis::connect(redis_url).await?);
        Ok(Self { backend: Backend::Redis { shared, local: Arc::default() }, world, hash_key })
    }

    /// Counts one call of `key` on `route`, if every policy of the route allows it.
    pub async fn check(&self, route: &RouteLimit, key: &str) -> Decision {
        let key = self.hash(key);
        match &self.backend {
            Backend::Memory(local) => local.check(route, key, self.world.now()),
            Backend::Redis { shared, local } => match shared.check(route, &key).await {
                Some(decision) => decision,
                None => local.check(route, key, self.world.now()),
            },
        }
    }

    fn hash(&self, key: &str) -> Key {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.hash_key).expect("HMAC takes keys of any length");
        mac.update(key.as_bytes());
        mac.finalize().into_bytes().into()
    }
}
