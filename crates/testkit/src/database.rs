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
            Self::Postgres => create_postgres("template0").await,
        }
    }
}

impl TestDatabase {
    /// `sqlite://…` or `postgres://…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Another database with everything that is in this one. Nobody may be connected to this one meanwhile.
    pub async fn copy(&self) -> Self {
        match &self.keep {
            Keep::Folder { _folder: folder } => {
                let copy = Backend::Sqlite.create().await;
                let Keep::Folder { _folder: target } = &copy.keep else { unreachable!("it is SQLite") };
                for file in std::fs::read_dir(folder.path()).expect("the folder can be read") {
                    let file = file.expect("the folder can be read");
                    std::fs::copy(file.path(), target.path().join(file.file_name())).expect("there is room");
                }
                copy
            }
            Keep::Postgres { name, .. } => create_postgres(name).await,
        }
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

async fn create_postgres(template: &str) -> TestDatabase {
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
    let statement = format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\"");
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn a_copy_has_what_was_there_and_is_its_own(backend: Backend) {
        let first = backend.create().await;
        let address = |database: &TestDatabase| match backend {
            Backend::Sqlite => format!("{}?mode=rwc", database.url()),
            Backend::Postgres => database.url().to_owned(),
        };
        let connection = Database::connect(address(&first)).await.unwrap();
        connection.execute_unprepared("CREATE TABLE t (n INTEGER)").await.unwrap();
        connection.execute_unprepared("INSERT INTO t VALUES (1)").await.unwrap();
        connection.close().await.unwrap();

        let second = first.copy().await;
        let connection = Database::connect(address(&second)).await.unwrap();
        connection.execute_unprepared("INSERT INTO t VALUES (2)").await.unwrap();
        let count = async |connection: &sea_orm::DatabaseConnection| {
            let sql = "SELECT count(*) AS rows FROM t";
            let statement = Statement::from_string(connection.get_database_backend(), sql);
            connection.query_one_raw(statement).await.unwrap().unwrap().try_get::<i64>("", "rows").unwrap()
        };
        assert_eq!(count(&connection).await, 2);
        let connection = Database::connect(address(&first)).await.unwrap();
        assert_eq!(count(&connection).await, 1);
    }

    crate::on_both_databases!(a_copy_has_what_was_there_and_is_its_own);
}
