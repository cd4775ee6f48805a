//! A database of its own for each test, dropped with it.

use std::sync::{Arc, OnceLock};

use quire_clock::World;
use sea_orm::{ConnectionTrait, Database, DatabaseBackend, Statement};
use tempfile::TempDir;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::private::PrivateServer;

const DEFAULT: &str = "postgres://postgres@127.0.0.1:5432/postgres";
/// Test systems on PostgreSQL at once in this process: a server allows 100 connections unless told otherwise, and
/// a machine with many cores would run many tests.
const AT_ONCE: usize = 6;
/// Databases that a killed test left behind are dropped when they are older.
const LEFT_OVER_SECONDS: i64 = 3600;

/// Which kind of database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// An empty database.
pub struct TestDatabase {
    url: String,
    keep: Keep,
}

enum Keep {
    Folder { _folder: TempDir },
    Postgres { server: String, name: String, _place: OwnedSemaphorePermit },
}

impl Backend {
    /// Finds PostgreSQL once for the test process; says so if there is none.
    pub fn postgres_is_there() -> bool {
        server().is_some()
    }

    /// A fresh, empty database.
    pub async fn create(self) -> TestDatabase {
        match self {
            Self::Sqlite => {
                let folder = tempfile::tempdir().expect("a temporary folder can be made");
                let url = format!("sqlite://{}/test.db", folder.path().display());
                TestDatabase { url, keep: Keep::Folder { _folder: folder } }
            }
            Self::Postgres => create_postgres().await,
        }
    }
}

impl TestDatabase {
    /// `sqlite://…` or `postgres://…`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Keep::Postgres { server, name, .. } = &self.keep else { return };
        let (server, name) = (server.clone(), name.clone());
        // A thread of its own: the test's runtime may be ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be made");
            runtime.block_on(async {
                if let Ok(connection) = Database::connect(&server).await {
                    let statement = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
                    let _ = connection.execute_unprepared(&statement).await;
                }
            });
        });
        let _ = dropping.join();
    }
}

async fn create_postgres() -> TestDatabase {
    static PLACES: OnceLock<Arc<Semaphore>> = OnceLock::new();
    let places = PLACES.get_or_init(|| Arc::new(Semaphore::new(AT_ONCE))).clone();
    let place = places.acquire_owned().await.expect("it is never closed");
    let server = server().expect("the caller asked postgres_is_there first").to_owned();
    let world = World::system();
    let seconds = world.now().unix_seconds();
    let random: String = world.bytes::<6>().iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("quire_test_{seconds}_{random}");
    let connection = Database::connect(&server).await.expect("PostgreSQL answers");
    drop_left_overs(&connection, seconds).await;
    let statement = format!("CREATE DATABASE \"{name}\" TEMPLATE template0");
    connection.execute_unprepared(&statement).await.expect("a test database can be made");
    connection.close().await.expect("the connection closes");
    let (base, _) = server.rsplit_once('/').expect("a database address has a path");
    TestDatabase { url: format!("{base}/{name}"), keep: Keep::Postgres { server, name, _place: place } }
}

async fn drop_left_overs(connection: &sea_orm::DatabaseConnection, now: i64) {
    let sql = "SELECT datname FROM pg_database WHERE datname LIKE 'quire\\_test\\_%'";
    let rows = connection.query_all_raw(Statement::from_string(DatabaseBackend::Postgres, sql)).await;
    for row in rows.unwrap_or_default() {
        let name: String = row.try_get("", "datname").unwrap_or_default();
        let made_at = name.split('_').nth(2).and_then(|seconds| seconds.parse::<i64>().ok());
        if made_at.is_some_and(|made_at| now - made_at > LEFT_OVER_SECONDS) {
            // Another test process may drop it at the same time.
            let _ = connection
                .execute_unprepared(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"))
                .await;
        }
    }
}

/// The address of the server, found once for the test process.
fn server() -> Option<&'static str> {
    static FOUND: OnceLock<Option<(String, Option<PrivateServer>)>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        if let Ok(url) = std::env::var("QUIRE_TEST_DATABASE_URL") {
            return Some((url, None));
        }
        if crate::private::answers(5432) {
            return Some((DEFAULT.to_owned(), None));
        }
        match PrivateServer::postgres() {
            Ok((server, url)) => Some((url, Some(server))),
            Err(why) => {
                crate::skip("postgres", &why);
                None
            }
        }
    });
    found.as_ref().map(|(url, _)| url.as_str())
}
