//! The public keys that verify tokens, fetched from auth and kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quire_clock::{Timestamp, World};
use quire_fault::Fault;
use tokio::sync::{Mutex, MutexGuard};

/// An unknown `kid` asks auth again at most this often, so that a flood of made-up ids cannot burden it.
const REFETCH: Duration = Duration::from_secs(30);

/// An Ed25519 public key and its `kid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    pub kid: String,
    /// The raw 32 bytes.
    pub bytes: Vec<u8>,
}

/// Where the public keys come from: auth, or a test.
#[tonic::async_trait]
pub trait KeySource: Send + Sync {
    /// Every key that may still verify a token.
    ///
    /// # Errors
    /// The source does not answer.
    async fn fetch(&self) -> Result<Vec<PublicKey>, Fault>;
}

/// Keys by their `kid`.
pub type Keys = Arc<BTreeMap<String, Arc<[u8]>>>;

/// The keys seen so far.
pub(crate) struct KeySet {
    source: Arc<dyn KeySource>,
    known: RwLock<Keys>,
    /// Held while asking, so that one caller asks at a time.
    asking: Mutex<Asking>,
    /// How often asking has failed.
    failures: AtomicU64,
}

/// How it went when the source was asked for a key.
#[derive(Default)]
struct Asking {
    last_at: Option<Timestamp>,
    failure: Option<Fault>,
}

impl KeySet {
    pub(crate) fn new(source: Arc<dyn KeySource>) -> Self {
        Self { source, known: RwLock::default(), asking: Mutex::default(), failures: AtomicU64::new(0) }
    }

    /// The key of that id, asking the source if it is unknown. Callers with a known key never wait for those
    /// with an unknown one.
    pub(crate) async fn get(&self, kid: &str, world: &World) -> Result<Option<Arc<[u8]>>, Fault> {
        if let Some(key) = self.known().get(kid) {
            return Ok(Some(key.clone()));
        }
        let mut asking = self.turn().await?;
        // Somebody else may have asked while this caller waited.
        let known = self.known();
        if let Some(key) = known.get(kid) {
            return Ok(Some(key.clone()));
        }
        let now = world.now();
        if !known.is_empty() && asking.last_at.is_some_and(|at| now.since(at) < REFETCH) {
            return Ok(None);
        }
        asking.last_at = Some(now);
        self.ask(&mut asking).await?;
        Ok(self.known().get(kid).cloned())
    }

    /// Whether a key of that id still verifies.
    pub(crate) fn has(&self, kid: &str) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains_key(kid)
    }

    /// All keys; asks the source only if none is known yet.
    pub(crate) async fn all(&self) -> Result<Keys, Fault> {
        if self.known().is_empty() {
            let mut asking = self.turn().await?;
            if self.known().is_empty() {
                self.ask(&mut asking).await?;
            }
        }
        Ok(self.known())
    }

    /// Waits until nobody else asks.
    ///
    /// # Errors
    /// Whoever asked meanwhile got no answer: all that waited for it share that failure. One after the other, each
    /// would wait for a deadline of its own.
    async fn turn(&self) -> Result<MutexGuard<'_, Asking>, Fault> {
        let before = self.failures.load(Ordering::Relaxed);
        let asking = self.asking.lock().await;
        match &asking.failure {
            Some(failure) if self.failures.load(Ordering::Relaxed) != before => Err(failure.clone()),
            _ => Ok(asking),
        }
    }

    async fn ask(&self, asking: &mut Asking) -> Result<(), Fault> {
        let outcome = self.fetch().await;
        if let Err(failure) = &outcome {
            self.failures.fetch_add(1, Ordering::Relaxed);
            asking.failure = Some(failure.clone());
        }
        outcome
    }

    /// Replaces what is known by what the source has now: keys that it no longer has verify nothing any more.
    pub(crate) async fn fetch(&self) -> Result<(), Fault> {
        let keys = self.source.fetch().await?.into_iter();
        let keys = keys.map(|key| (key.kid, Arc::from(key.bytes))).collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    fn known(&self) -> Keys {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use quire_fault::Kind;
    use tokio::sync::Semaphore;

    use super::*;

    /// Fails once its gate is closed, and then at once.
    struct Silent {
        gate: Semaphore,
        asked: AtomicU64,
    }

    #[tonic::async_trait]
    impl KeySource for Silent {
        async fn fetch(&self) -> Result<Vec<PublicKey>, Fault> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let closed = self.gate.acquire().await.map(drop);
            closed.map_err(|_| Fault::new(Kind::Unavailable, "AUTH_UNAVAILABLE", "silence"))?;
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn all_who_wait_for_the_first_keys_share_one_failure() {
        let source = Arc::new(Silent { gate: Semaphore::new(0), asked: AtomicU64::new(0) });
        let (keys, world) = (KeySet::new(source.clone()), World::system());
        let waiting = join_all((0..20).map(|_| keys.get("a", &world)));
        let listing = join_all((0..20).map(|_| keys.all()));
        // Polled in this order: everybody waits before the gate is closed.
        let closing = async { source.gate.close() };
        let (got, listed, ()) = tokio::join!(biased; waiting, listing, closing);
        for failure in
            got.into_iter().filter_map(Result::err).chain(listed.into_iter().filter_map(Result::err))
        {
            assert_eq!(failure.reason, "AUTH_UNAVAILABLE");
        }
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
        // Whoever comes later tries anew.
        assert!(keys.get("a", &world).await.is_err());
        assert_eq!(source.asked.load(Ordering::SeqCst), 2);
    }
}
