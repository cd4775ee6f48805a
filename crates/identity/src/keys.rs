//! The public keys that verify access tokens, fetched from auth and kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quire_clock::{Timestamp, World};
use quire_fault::{Fault, Kind};
use quire_proto::auth::v1 as pb;
use quire_proto::auth::v1::auth_service_client::AuthServiceClient;
use tokio::sync::{Mutex, RwLock};
use tonic::transport::Channel;

/// An unknown `kid` asks auth again at most this often, so that a flood of made-up ids cannot burden it.
const REFETCH: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(3);

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

/// Asks the auth service.
pub struct RemoteKeys(AuthServiceClient<Channel>);

impl RemoteKeys {
    pub fn new(auth: Channel) -> Self {
        Self(AuthServiceClient::new(auth))
    }
}

#[tonic::async_trait]
impl KeySource for RemoteKeys {
    async fn fetch(&self) -> Result<Vec<PublicKey>, Fault> {
        let mut request = tonic::Request::new(pb::ListSigningKeysRequest {});
        request.set_timeout(DEADLINE);
        let answer = self.0.clone().list_signing_keys(request).await.map_err(|status| {
            tracing::warn!(code = ?status.code(), "signing keys cannot be fetched from auth");
            Fault::new(Kind::Unavailable, "AUTH_UNAVAILABLE", "sign-in state cannot be checked right now")
                .with_retry_after(Duration::from_secs(1))
        })?;
        let keys = answer.into_inner().keys.into_iter();
        Ok(keys.map(|key| PublicKey { kid: key.kid, bytes: key.public_key }).collect())
    }
}

/// The keys seen so far.
pub(crate) struct KeySet {
    source: Arc<dyn KeySource>,
    known: RwLock<HashMap<String, Arc<[u8]>>>,
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
        if let Some(key) = self.known(kid).await {
            return Ok(Some(key));
        }
        let mut asked_at = self.asked_at.lock().await;
        // Somebody else may have asked while this caller waited.
        if let Some(key) = self.known(kid).await {
            return Ok(Some(key));
        }
        let now = world.now();
        let empty = self.known.read().await.is_empty();
        if !empty && asked_at.is_some_and(|at| now.since(at) < REFETCH) {
            return Ok(None);
        }
        *asked_at = Some(now);
        let keys = self.source.fetch().await?;
        *self.known.write().await = keys.into_iter().map(|key| (key.kid, Arc::from(key.bytes))).collect();
        Ok(self.known(kid).await)
    }

    async fn known(&self, kid: &str) -> Option<Arc<[u8]>> {
        self.known.read().await.get(kid).cloned()
    }
}
