//! Opening: what must be set on each kind of database before the first statement.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait, Database as Connector, DatabaseConnection, DbErr};
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use tokio::time::Instant;

use crate::error::is_busy;
use crate::write::LONGEST_WAIT;
use crate::{Database, DatabaseError};

/// PostgreSQL ends a transaction whose process says nothing for so long, as one that is frozen: it holds rows that others
/// wait for. No transaction here waits for anything but the database.
const SILENT_TRANSACTION: &str = "10s";

/// So long a new SQLite file that another process is turning over is waited for,
const LONGEST_TURN: Duration = Duration::from_secs(10);
/// looked at this often.
const NEXT_TURN: Duration = Duration::from_millis(20);

/// Which database, and how many connections. Its `Debug` leaves out the address, which may hold a password.
#[derive(Clone)]
pub struct Settings {
    /// `sqlite:///folder/file.db`, or `postgres://user@host/name`.
    pub url: String,
    /// The PostgreSQL schema of this bounded context; made if it is missing. SQLite has a file instead.
    pub schema: String,
    pub max_connections: u32,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, schema, max_connections } = self;
        formatter
            .debug_struct("Settings")
            .field("schema", schema)
            .field("max_connections", max_connections)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// A SQLite file, made if it is missing.
    pub fn sqlite(file: &Path) -> Self {
        Self { url: format!("sqlite://{}", file.display()), schema: String::new(), max_connections: 8 }
    }
}

/// Opens a database. SQLite: makes the file and its folder. PostgreSQL: makes the schema.
///
/// # Errors
/// The address is not understood, the folder cannot be made, or the server does not answer within ten seconds.
pub async fn open(settings: &Settings) -> Result<Database, DatabaseError> {
    let mut options = ConnectOptions::new(settings.url.clone());
    options
        .max_connections(settings.max_connections)
        .connect_timeout(Duration::from_secs(10))
        .acquire_timeout(Duration::from_secs(10))
        // Statements may carry customers' text: they are not logged, not even at debug level.
        .sqlx_logging(false);
    if let Some(path) = settings.url.strip_prefix("sqlite://") {
        let path = path.split('?').next().unwrap_or(path);
        if let Some(folder) = Path::new(path).parent() {
            std::fs::create_dir_all(folder).map_err(DatabaseError::Folder)?;
        }
        options.map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(LONGEST_WAIT)
        });
        return Ok(Database::new(connect_to_file(options).await?));
    }
    if !settings.url.starts_with("postgres://") && !settings.url.starts_with("postgresql://") {
        return Err(DatabaseError::Address(
            "it must start with sqlite:// or postgres:// (the value is not shown)".to_owned(),
        ));
    }
    create_schema(settings).await?;
    options.set_schema_search_path(settings.schema.clone());
    options.map_sqlx_postgres_opts(|postgres| {
        postgres.options([("idle_in_transaction_session_timeout", SILENT_TRANSACTION)])
    });
    Ok(Database::new(Connector::connect(options).await?))
}

/// Whoever comes first turns a new file over to WAL. SQLite lets nobody wait for that, and tells the others that the file is
/// locked: they come again.
async fn connect_to_file(options: ConnectOptions) -> Result<DatabaseConnection, DbErr> {
    let deadline = Instant::now() + LONGEST_TURN;
    loop {
        match Connector::connect(options.clone()).await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(NEXT_TURN).await;
            }
            connected => return connected,
        }
    }
}

async fn create_schema(settings: &Settings) -> Result<(), DatabaseError> {
    if settings.schema.is_empty()
        || !settings.schema.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    {
        return Err(DatabaseError::Address("the schema name must be lowercase letters".to_owned()));
    }
    let mut options = ConnectOptions::new(settings.url.clone());
    options
        .max_connections(1)
        .connect_timeout(Duration::from_secs(10))
        .acquire_timeout(Duration::from_secs(10))
        .sqlx_logging(false);
    let connection = Connector::connect(options).await?;
    let schema = &settings.schema;
    let statement = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
    let made = connection.execute_unprepared(&statement).await;
    // Two processes that make the schema at the same moment: one of them gets a unique violation, and the
    // schema is there for both.
    let made = match made {
        Err(error) if crate::is_unique_violation(&error) => Ok(()),
        other => other.map(|_| ()),
    };
    connection.close().await?;
    made.map_err(DatabaseError::Database)
}
