//! The signing keys as this process uses them: loaded from the database, private ones unsealed, and loaded again
//! when a rotation has changed them.

mod rotation;
mod seal;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use quire_clock::{Timestamp, World};
use quire_fault::{Fault, Kind};
use quire_identity::{KeySource, PublicKey};
use sea_orm::DbErr;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::change::Books;
use crate::error::AuthError;
use crate::store::{self, signing_key};

pub use rotation::{Advance, KeyInfo, Lives, Revoke, Rotate, Rotated};
pub use seal::Seals;

use rotation::Reseal;

pub(crate) const STANDBY: &str = "standby";
pub(crate) const ACTIVE: &str = "active";
pub(crate) const RETIRED: &str = "retired";
pub(crate) const REVOKED: &str = "revoked";

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(
        "the signing key in the database was sealed under another secret: start with the QUIRE_KEY_SECRET (or, \
         without one, the QUIRE_SECRET) it was made with, or use an empty database"
    )]
    Sealed,
    #[error("the signing key in the database is damaged")]
    Damaged,
    #[error("a signing key could not be made")]
    Generate,
    #[error("the signing key could not be read or stored")]
    Database(#[from] DbErr),
    #[error("the signing key could not be stored")]
    Store(#[source] Box<AuthError>),
}

/// The keys of this installation. Cheap to clone; clones share what was loaded.
#[derive(Clone)]
pub struct Keyring {
    books: Books,
    seals: Seals,
    lives: Lives,
    loaded: Arc<RwLock<Option<Arc<Keys>>>>,
    /// Held while loading, so that one caller loads at a time.
    loading: Arc<Mutex<()>>,
}

/// What was loaded.
pub struct Keys {
    /// Of the key that signs.
    pub active: String,
    /// Private keys that may still sign: the active one and, to make an earlier answer again, retired ones.
    signers: BTreeMap<String, EncodingKey>,
    /// `kid` to state and raw 32 bytes; everything that verifies.
    pub public: BTreeMap<String, (String, Vec<u8>)>,
    /// Changes with the set.
    pub version: String,
    /// When the next step in the life of a key is due.
    due: Option<Timestamp>,
}

impl Keys {
    /// A private key, and the id of it: the one asked for if it is still there, else the active one.
    pub fn signer<'a>(&'a self, kid: &'a str) -> Option<(&'a str, &'a EncodingKey)> {
        let asked = self.signers.get(kid).map(|key| (kid, key));
        asked.or_else(|| self.signers.get(&self.active).map(|key| (self.active.as_str(), key)))
    }
}

impl Keyring {
    pub fn new(books: Books, seals: Seals, lives: Lives) -> Self {
        Self { books, seals, lives, loaded: Arc::default(), loading: Arc::default() }
    }

    /// The keys; at the first call read from the database, and made if there are none.
    ///
    /// # Errors
    /// The database is gone, or its key was sealed under another secret.
    pub async fn get(&self) -> Result<Arc<Keys>, KeyError> {
        if let Some(keys) = self.loaded() {
            return Ok(keys);
        }
        let _one_at_a_time = self.loading.lock().await;
        match self.loaded() {
            Some(keys) => Ok(keys),
            None => self.load().await,
        }
    }

    /// Reads them again, since something has changed.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn reload(&self) -> Result<Arc<Keys>, KeyError> {
        let _one_at_a_time = self.loading.lock().await;
        self.load().await
    }

    /// The next step in the lives of the keys, if it is due: a standby key becomes active, a retired one is revoked.
    pub fn due(&self, world: &World) -> Option<Advance> {
        let due = self.loaded()?.due?;
        (due <= world.now()).then_some(Advance { lives: self.lives })
    }

    fn loaded(&self) -> Option<Arc<Keys>> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn load(&self) -> Result<Arc<Keys>, KeyError> {
        let mut rows = store::signing_keys(self.books.database.reader()).await?;
        if !rows.iter().any(|row| row.state == ACTIVE) {
            let first = Rotate::first(self.seals.clone());
            self.books.commit(first).await.map_err(|error| KeyError::Store(Box::new(error)))??;
            rows = store::signing_keys(self.books.database.reader()).await?;
        }
        let keys = Arc::new(self.read(&rows).await?);
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Some(keys.clone());
        Ok(keys)
    }

    async fn read(&self, rows: &[signing_key::Model]) -> Result<Keys, KeyError> {
        let mut keys = Keys {
            active: String::new(),
            signers: BTreeMap::new(),
            public: BTreeMap::new(),
            version: version(rows),
            due: rows.iter().filter_map(|row| self.lives.due(row)).min(),
        };
        for row in rows.iter().filter(|row| row.state != REVOKED) {
            let public = URL_SAFE_NO_PAD.decode(&row.public_key).map_err(|_| KeyError::Damaged)?;
            let opened = self.seals.open(&row.kid, &row.sealed_private_key)?;
            let pair = Ed25519KeyPair::from_pkcs8(&opened.private).map_err(|_| KeyError::Damaged)?;
            if pair.public_key().as_ref() != public {
                return Err(KeyError::Damaged);
            }
            if opened.outdated {
                let sealed = self.seals.seal(&self.books.world, &row.kid, &opened.private)?;
                let reseal = Reseal { kid: row.kid.clone(), sealed };
                self.books.commit(reseal).await.map_err(|error| KeyError::Store(Box::new(error)))?;
            }
            if row.state == ACTIVE {
                keys.active.clone_from(&row.kid);
            }
            if row.state != STANDBY {
                keys.signers.insert(row.kid.clone(), EncodingKey::from_ed_der(&opened.private));
            }
            keys.public.insert(row.kid.clone(), (row.state.clone(), public));
        }
        if keys.active.is_empty() { Err(KeyError::Damaged) } else { Ok(keys) }
    }
}

/// A short text that differs whenever a key was added or has another state.
pub(crate) fn version(rows: &[signing_key::Model]) -> String {
    let mut hasher = Sha256::new();
    for row in rows.iter().filter(|row| row.state != REVOKED) {
        hasher.update(format!("{} {}\n", row.kid, row.state));
    }
    hex::encode(&hasher.finalize()[..8])
}

/// Auth checks its own callers with its own keys.
#[tonic::async_trait]
impl KeySource for Keyring {
    async fn fetch(&self) -> Result<Vec<PublicKey>, Fault> {
        let keys = self.get().await.map_err(|error| {
            quire_fault::log_internal("auth", &error);
            Fault::new(Kind::Unavailable, "AUTH_UNAVAILABLE", "sign-in state cannot be checked right now")
        })?;
        let public = keys.public.iter();
        Ok(public.map(|(kid, (_, bytes))| PublicKey { kid: kid.clone(), bytes: bytes.clone() }).collect())
    }
}
