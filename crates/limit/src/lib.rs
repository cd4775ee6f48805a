//! Rate limits, seen-keys and the limits of [upstreams](upstream), in process or in Redis.
//!
//! # What a limit means
//!
//! The algorithm is GCRA, the generic cell rate algorithm of ITU-T I.371. Per key it keeps one number, the
//! theoretical arrival time: the moment when the key is as good as unused. A call is allowed if that moment is
//! near enough, and then moves it one interval further away. So `5/minute` lets five calls through at once and
//! then one every twelve seconds, and the sixth call is told to wait twelve seconds, not sixty.
//!
//! It bounds the rate, not the calls of a fixed window: with quota `q`, a caller that was silent before gets up
//! to `2q - 1` calls through in a window of that length. For `5/minute` these are nine in sixty seconds: five at
//! once, then one each at 12, 24, 36 and 48 seconds. With `burst b` it is `b + q - 1`; over any longer time the
//! mean is the quota.
//!
//! # Several policies
//!
//! A route may have several policies, each counting by its own kind of key: the address, the session, the user,
//! the mailbox, or everybody together. They are checked in one step and counted in one step: a call that one of
//! them denies costs none of them anything. A policy whose key the call does not have is left out of the check.
//!
//! A shadow policy never denies. It counts the calls that the other policies allow and that it would allow
//! itself, and a [`Decision`] names those that would have denied.
//!
//! # Who counts
//!
//! With Redis, every replica shares one count, by the clock of the server. When Redis does not answer within
//! 50 ms, each process limits by itself with the same policies and counts that start at zero: the answer may
//! then be too generous, by one quota per process, but it is never open. [`Decision::source`] tells who decided.
//!
//! What Redis denied, the process remembers, and denies again without asking until the moment when the call may
//! pass; also while Redis does not answer. Such an answer names the policies, shadows included, that denied when
//! Redis was asked; one that calls with other keys have used up since is named only when Redis is asked again. A
//! denial is remembered by the clock of the process, and dropped if that clock is set back.
//!
//! A call can be given back, as when what it was for could not be done. It goes to whoever counts at that moment,
//! and ends the denials that this process remembers for its keys; another replica may hold on to one for at most
//! one interval.
//!
//! Memory is bounded: at most 100,000 keys per policy in process, and 100,000 remembered denials.

mod decision;
mod denials;
mod explanation;
mod gate;
mod judge;
mod keys;
mod link;
mod memory;
mod metrics;
mod parse;
mod policy;
mod redis;
mod seen;
mod shared;
#[cfg(test)]
mod tests;
pub mod upstream;

use std::sync::Arc;

use quire_clock::World;
use quire_serve::metrics::Scope;

use crate::keys::Bucket;
use crate::memory::Memory;
use crate::metrics::Counts;
use crate::redis::Redis;
use crate::shared::Shared;

pub use decision::{Decision, Source};
pub use explanation::{Explanation, PolicyState};
pub use keys::Keys;
pub use link::LinkError;
pub use parse::PolicyError;
pub use policy::{By, Policy, RouteLimit};
pub use seen::SeenKeys;

/// Decides whether one more call is allowed. Cheap to clone; clones share their counts.
#[derive(Clone)]
pub struct Limiter {
    backend: Backend,
    world: World,
    hash_key: [u8; 32],
    /// `None`: nobody looks.
    counts: Option<Counts>,
}

#[derive(Clone)]
enum Backend {
    /// Counts of this process alone.
    Memory(Arc<Memory>),
    /// Counts shared by all replicas, and those of this process for when they are out of reach.
    Redis(Arc<Shared>),
}

impl Limiter {
    /// A limiter that counts in this process only.
    pub fn memory(world: World) -> Self {
        let hash_key = world.bytes();
        Self { backend: Backend::Memory(Arc::default()), world, hash_key, counts: None }
    }

    /// A limiter that counts in Redis. Waits at most two seconds for Redis; if it does not answer, the process
    /// limits by itself until it does. `hash_key` must be the same in all replicas.
    ///
    /// # Errors
    /// The address is not a Redis URL.
    pub async fn connect(redis_url: &str, world: World, hash_key: [u8; 32]) -> Result<Self, LinkError> {
        Ok(Self::on(Redis::connect(redis_url).await?, world, hash_key))
    }

    fn on(redis: Redis, world: World, hash_key: [u8; 32]) -> Self {
        let shared = Shared::new(redis, world.clone());
        Self { backend: Backend::Redis(Arc::new(shared)), world, hash_key, counts: None }
    }

    /// Shows what it decides from now on, and whether Redis is out of reach.
    pub fn exposed(mut self, scope: &Scope) -> Self {
        self.counts = Some(Counts::new(scope));
        let backend = self.backend.clone();
        let help = "1 while Redis is set but does not answer, so that this process limits by itself";
        scope.gauge("limiter_degraded", help, move || match &backend {
            Backend::Redis(shared) if !shared.is_up() => 1.0,
            _ => 0.0,
        });
        self
    }

    /// Counts one call on `route`, if every policy that applies to it allows it.
    pub async fn check(&self, route: &RouteLimit, keys: &Keys) -> Decision {
        let buckets = Bucket::of(route, keys, &self.hash_key);
        if buckets.is_empty() {
            // Nothing limits this call.
            return Decision::of(route, &[], Source::Local);
        }
        let decision = match &self.backend {
            Backend::Redis(shared) => shared.check(route, &buckets).await,
            Backend::Memory(local) => {
                let verdicts = local.check(route, &buckets, self.world.now());
                Decision::of(route, &verdicts, Source::Local)
            }
        };
        if let Some(counts) = &self.counts {
            counts.count(&decision);
        }
        decision
    }

    /// How each policy stands for these keys. Counts nothing.
    pub async fn explain(&self, route: &RouteLimit, keys: &Keys) -> Explanation {
        let buckets = Bucket::of(route, keys, &self.hash_key);
        match &self.backend {
            Backend::Redis(shared) => shared.explain(route, &buckets).await,
            Backend::Memory(local) => {
                let standing = local.explain(route, &buckets, self.world.now());
                Explanation::of(&buckets, &standing, &vec![0; buckets.len()], Source::Local)
            }
        }
    }

    /// Takes one call back from every policy whose key is given, as when the mail it was for could not be sent.
    /// Give it the keys of an allowed call, once. Best effort: if Redis does not answer, the call stays counted
    /// there.
    pub async fn give_back(&self, route: &RouteLimit, keys: &Keys) {
        let buckets = Bucket::of(route, keys, &self.hash_key);
        match &self.backend {
            Backend::Redis(shared) => shared.give_back(route, &buckets).await,
            Backend::Memory(local) => local.give_back(route, &buckets, self.world.now()),
        }
    }
}
