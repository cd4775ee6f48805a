//! Opens a SQLite or PostgreSQL database and runs write transactions on it.
//!
//! Every bounded context opens its own: a SQLite file, or a PostgreSQL schema. The rules that both need are
//! kept here once: SQLite in WAL mode with full durability and one pool per file, every write transaction
//! `IMMEDIATE` (a transaction that reads first and writes later fails as busy without waiting) and in its turn, and
//! the time of leases taken from the database's own clock.

mod error;
mod open;
mod write;

use std::time::Duration;

use quire_clock::Timestamp;
use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseConnection, DbErr, Statement};
use sea_orm_migration::MigratorTrait;

pub use error::{DatabaseError, is_transient, is_unique_violation};
pub use open::{Settings, open};
use write::Turns;
pub use write::WriteTransaction;

/// An open database of one bounded context. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    connection: DatabaseConnection,
    /// SQLite's.
    turns: Option<Turns>,
}

/// Key of the PostgreSQL advisory lock that lets one process migrate at a time.
const MIGRATION_LOCK: i64 = 0x0051_7569_7265;

impl Database {
    pub(crate) fn new(connection: DatabaseConnection) -> Self {
        let turns = (connection.get_database_backend() == DatabaseBackend::Sqlite).then(Turns::default);
        Self { connection, turns }
    }

    /// For reads outside a transaction.
    pub fn reader(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// Starts a transaction that will write. Dropping it without `commit` rolls it back.
    ///
    /// # Errors
    /// The database is gone, or other writers held it longer than ten seconds.
    pub async fn begin_write(&self) -> Result<WriteTransaction, DbErr> {
        WriteTransaction::begin(&self.connection, self.turns.as_ref()).await
    }

    pub fn is_postgres(&self) -> bool {
        self.connection.get_database_backend() == DatabaseBackend::Postgres
    }

    /// Applies the migrations that are missing. Several processes may call it at once; one does the work.
    ///
    /// # Errors
    /// The database is gone, or a migration does not fit what is there.
    pub async fn migrate<M: MigratorTrait>(&self) -> Result<(), DbErr> {
        // SQLite lets one writer in at a time.
        let guard = self.begin_write().await?;
        if self.is_postgres() {
            guard.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")).await?;
        }
        // On the guard's own connection: the pool may have no second one.
        M::up(&*guard, None).await?;
        guard.commit().await
    }

    /// Whether the database answers and every migration is applied.
    ///
    /// # Errors
    /// Says what is missing, in words for an operator.
    pub async fn check<M: MigratorTrait>(&self) -> Result<(), DatabaseError> {
        let pending = tokio::time::timeout(
            Duration::from_secs(5),
            M::get_pending_migrations_read_only(&self.connection),
        );
        let pending = pending.await.map_err(|_| DatabaseError::Slow)??;
        match pending.len() {
            0 => Ok(()),
            count => Err(DatabaseError::NotMigrated { count }),
        }
    }

    /// Closes every connection.
    pub async fn close(self) -> Result<(), DbErr> {
        self.connection.close().await
    }
}

/// The database's own time: the same for every process that shares it, whatever their clocks say.
///
/// # Errors
/// The database is gone.
pub async fn now(connection: &impl ConnectionTrait) -> Result<Timestamp, DbErr> {
    let backend = connection.get_database_backend();
    let sql = match backend {
        DatabaseBackend::Postgres => {
            "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now"
        }
        _ => "SELECT CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER) AS now",
    };
    let row = connection.query_one_raw(Statement::from_string(backend, sql)).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the database told no time".to_owned()))?;
    Ok(Timestamp::from_unix_micros(row.try_get("", "now")?))
}
