//! What an operator does from a terminal, on the database itself: it works while auth runs, which notices within
//! a second, and while it does not.

use quire_clock::World;
use quire_database::DatabaseError;
use quire_identity::{MasterSecret, SecretError};
use quire_migrations::AuthMigrator;
use quire_serve::settings::{Common, Settings};
use secrecy::SecretString;

use crate::audit::{self, ChainKey};
use crate::change::Books;
use crate::config;
use crate::error::AuthError;
use crate::keys::{self, KeyError, Revoke, Rotate, Seals};
use crate::store;

pub use crate::audit::{AuditError, AuditReport};
pub use crate::keys::{KeyInfo, Rotated};

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("the secret cannot be used")]
    Secret(#[from] SecretError),
    #[error("auth's database cannot be used")]
    Database(#[from] DatabaseError),
    #[error("auth's database refused")]
    Statement(#[from] sea_orm::DbErr),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("auth's database refused the change")]
    Change(#[from] AuthError),
    #[error("there is no signing key `{0}`")]
    UnknownKey(String),
}

/// The settings that the commands need.
pub struct OperatorConfig {
    database: quire_database::Settings,
    master_secret: SecretString,
    key_secret: Option<SecretString>,
}

impl OperatorConfig {
    /// Reads them; mistakes are noted in `settings`.
    pub fn read(settings: &mut Settings, common: &Common) -> Self {
        let production = settings.production();
        Self {
            database: quire_database::Settings {
                url: common.database_url.clone(),
                schema: "auth".to_owned(),
                max_connections: 2,
            },
            master_secret: common.master_secret.clone(),
            key_secret: config::read_key_secret(settings, common, production),
        }
    }
}

/// An open database of auth.
pub struct Operator {
    books: Books,
    seals: Seals,
}

impl Operator {
    /// # Errors
    /// The database does not answer, or is not migrated.
    pub async fn open(config: &OperatorConfig, world: World) -> Result<Self, OperatorError> {
        let master = MasterSecret::new(config.master_secret.clone())?;
        let database = quire_database::open(&config.database).await?;
        database.check::<AuthMigrator>().await?;
        let seals = crate::seals(&config.key_secret, &master)?;
        Ok(Self { books: Books { database, world, chain: ChainKey::new(&master) }, seals })
    }

    /// All signing keys, oldest first.
    ///
    /// # Errors
    /// The database refused.
    pub async fn keys(&self) -> Result<Vec<KeyInfo>, OperatorError> {
        let keys = store::signing_keys(self.books.database.reader()).await?;
        Ok(keys.into_iter().map(KeyInfo::from).collect())
    }

    /// Publishes a new key that will sign after `standby`; zero: now. A key that waits already is the new one.
    ///
    /// # Errors
    /// No key can be made, or the database refused.
    pub async fn rotate(&self, standby: std::time::Duration) -> Result<Rotated, OperatorError> {
        // A secret that does not open the present key must not seal the next one: auth could use neither.
        for key in store::signing_keys(self.books.database.reader()).await? {
            if key.state != keys::REVOKED {
                self.seals.open(&key.kid, &key.sealed_private_key)?;
            }
        }
        Ok(self.books.commit(Rotate::new(self.seals.clone(), standby)).await??)
    }

    /// Takes a key out of use at once: every token it has signed ends.
    ///
    /// # Errors
    /// There is no such key, or the database refused.
    pub async fn revoke(&self, kid: &str) -> Result<KeyInfo, OperatorError> {
        let revoke = Revoke { kid: kid.to_owned(), seals: self.seals.clone() };
        self.books.commit(revoke).await??.ok_or_else(|| OperatorError::UnknownKey(kid.to_owned()))
    }

    /// Verifies the audit log. `noted`: the place and the hash of a row, from an earlier report.
    ///
    /// # Errors
    /// The first place where the log is not what was written.
    pub async fn verify_audit(&self, noted: Option<(i64, &str)>) -> Result<AuditReport, AuditError> {
        audit::verify(&self.books.database, &self.books.chain, noted).await
    }

    /// Closes the database.
    ///
    /// # Errors
    /// The database is gone.
    pub async fn close(self) -> Result<(), OperatorError> {
        Ok(self.books.database.close().await?)
    }
}
