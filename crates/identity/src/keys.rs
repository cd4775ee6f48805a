//! The public keys that verify tokens, fetched from auth and kept.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quire_clock::{Timestamp, World};
use quire_fault::Fault;
use tokio::sync::Mutex;

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
    /// When the source was last asked for an unknown key. Held while asking, so that one caller asks at a time.
    asked_at: Mutex<Option<Timestamp>>,
}

impl KeySet {
    pub(crate) fn new(source: Arc<dyn KeySource>) -> Self {
        Self { source, known: RwLock::default(), asked_at: Mutex::default() }
    }

    /// The key of that id, asking the source if it is unknown. Callers with a known key never wait for those
    /// with an unknown one.
    pub(crate) async fn get(&self, kid: &str, world: &World) -> Result<Option<Arc<[u8]>>, Fault> {
        if let Some(key) = self.known().get(kid) {
            return Ok(Some(key.clone()));
        }
        let mut asked_at = self.asked_at.lock().await;
        // Somebody else may have asked while this caller waited.
        let known = self.known();
        if let Some(key) = known.get(kid) {
            return Ok(Some(key.clone()));
        }
        let now = world.now();
        if !known.is_empty() && asked_at.is_some_and(|at| now.since(at) < REFETCH) {
            return Ok(None);
        }
        *asked_at = Some(now);
        self.fetch().await?;
        Ok(self.known().get(kid).cloned())
    }

    /// Whether a key of that id still verifies.
    pub(crate) fn has(&self, kid: &str) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains_key(kid)
    }

    /// All keys; asks the source only if none is known yet.
    pub(crate) async fn all(&self) -> Result<Keys, Fault> {
        if self.known().is_empty() {
            let _one_at_a_time = self.asked_at.lock().await;
            if self.known().is_empty() {
                self.fetch().await?;
            }
        }
        Ok(self.known())
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
