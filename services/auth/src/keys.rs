//! The signing key: made once, kept sealed, found again after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use quire_clock::World;
use quire_database::{Database, is_unique_violation};
use quire_fault::{Fault, Kind};
use quire_identity::{KeySource, MasterSecret, Origin, PublicKey};
use sea_orm::DbErr;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::audit::{self, Attempt, Audit};
use crate::store::{self, signing_key};

const ACTIVE: &str = "active";

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(
        "the signing key in the database was sealed under another master secret: start with the secret it was \
         made with, or use an empty database"
    )]
    Sealed,
    #[error("the signing key in the database is damaged")]
    Damaged,
    #[error("a signing key could not be made")]
    Generate,
    #[error("the signing key could not be read or stored")]
    Database(#[from] DbErr),
}

/// The keys of this installation. Cheap to clone; clones share what was loaded.
#[derive(Clone)]
pub struct Keyring {
    database: Database,
    world: World,
    audit: Audit,
    seal: [u8; 32],
    loaded: Arc<OnceCell<Keys>>,
}

/// The key that signs, and every public key that verifies.
pub struct Keys {
    pub kid: String,
    pub signing: EncodingKey,
    /// `kid` to the raw 32 bytes.
    pub public: BTreeMap<String, Vec<u8>>,
}

impl Keyring {
    pub fn new(database: Database, world: World, audit: Audit, master: &MasterSecret) -> Self {
        let seal = master.derive("auth signing keys");
        Self { database, world, audit, seal, loaded: Arc::default() }
    }

    /// The keys; at the first call read from the database, and made if there are none.
    ///
    /// # Errors
    /// The database is gone, or its key was sealed under another master secret.
    pub async fn get(&self) -> Result<&Keys, KeyError> {
        self.loaded.get_or_try_init(|| self.load()).await
    }

    async fn load(&self) -> Result<Keys, KeyError> {
        let mut rows = store::signing_keys(self.database.reader()).await?;
        if !rows.iter().any(|row| row.state == ACTIVE) {
            self.create().await?;
            rows = store::signing_keys(self.database.reader()).await?;
        }
        let active = rows.iter().find(|row| row.state == ACTIVE).ok_or(KeyError::Damaged)?;
        let private = self.open(active)?;
        let pair = Ed25519KeyPair::from_pkcs8(&private).map_err(|_| KeyError::Damaged)?;
        let mut public = BTreeMap::new();
        for row in &rows {
            let bytes = URL_SAFE_NO_PAD.decode(&row.public_key).map_err(|_| KeyError::Damaged)?;
            public.insert(row.kid.clone(), bytes);
        }
        if public.get(&active.kid).map(Vec::as_slice) != Some(pair.public_key().as_ref()) {
            return Err(KeyError::Damaged);
        }
        Ok(Keys { kid: active.kid.clone(), signing: EncodingKey::from_ed_der(&private), public })
    }

    /// Makes the first key. Of several replicas that start together one succeeds; the others find its key.
    async fn create(&self) -> Result<(), KeyError> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(&self.world.bytes::<32>()).map_err(|_| KeyError::Generate)?;
        let private = pair.to_pkcs8().map_err(|_| KeyError::Generate)?;
        let public = pair.public_key().as_ref();
        let kid = hex::encode(&Sha256::digest(public)[..16]);
        let key = signing_key::Model {
            sealed_private_key: self.seal(&kid, private.as_ref())?,
            kid,
            state: ACTIVE.to_owned(),
            public_key: URL_SAFE_NO_PAD.encode(public),
            created_at: self.world.now().unix_micros(),
        };
        let transaction = self.database.begin_write().await?;
        match store::add_signing_key(&transaction, key).await {
            Err(error) if is_unique_violation(&error) => return Ok(()),
            other => other?,
        }
        let attempt = Attempt { action: audit::KEY_CREATED, ..Attempt::default() };
        self.audit.success(&transaction, &Origin::default(), attempt).await?;
        transaction.commit().await?;
        tracing::info!("a signing key was made");
        Ok(())
    }

    /// AES-256-GCM under a key derived from the master secret, bound to the `kid`.
    fn seal(&self, kid: &str, private: &[u8]) -> Result<String, KeyError> {
        let nonce = self.world.bytes::<NONCE_LEN>();
        let mut sealed = private.to_vec();
        self.cipher()
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(kid), &mut sealed)
            .map_err(|_| KeyError::Generate)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    fn open(&self, row: &signing_key::Model) -> Result<Vec<u8>, KeyError> {
        let mut sealed = URL_SAFE_NO_PAD.decode(&row.sealed_private_key).map_err(|_| KeyError::Damaged)?;
        let (nonce, sealed) = sealed.split_at_mut_checked(NONCE_LEN).ok_or(KeyError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::Damaged)?;
        let private = self.cipher().open_in_place(nonce, Aad::from(row.kid.as_str()), sealed);
        Ok(private.map_err(|_| KeyError::Sealed)?.to_vec())
    }

    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.seal).expect("the key has 32 bytes"))
    }
}

/// Auth checks its own callers with its own keys.
#[tonic::async_trait]
impl KeySource for Keyring {
    async fn fetch(&self) -> Result<Vec<PublicKey>, Fault> {
        let keys = self.get().await.map_err(|error| {
            quire_fault::log_internal("auth", &error);
            Fault::new(Kind::Unavailable, "AUTH_UNAVAILABLE", "sign-in state cannot be checked right now")
        })?;
        Ok(keys
            .public
            .iter()
            .map(|(kid, bytes)| PublicKey { kid: kid.clone(), bytes: bytes.clone() })
            .collect())
    }
}
