//! Databases that refuse, and programs that break at a named place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quire_clock::{FailPoints, World};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};

use crate::ledger::tamper;
use crate::stage::Stage;

/// From now on no row that is `condition`, such as `NEW.order_id = 'x'`, can be inserted into this table.
pub async fn refuse_inserts(stage: &Stage, table: &str, condition: &str) {
    let sql = if stage.is_postgres() {
        format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'refused on purpose'; END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW WHEN ({condition})
                EXECUTE FUNCTION refuse()"
        )
    } else {
        format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON {table} WHEN {condition}
                BEGIN SELECT RAISE(ABORT, 'refused on purpose'); END"
        )
    };
    tamper(stage, &sql).await;
}

/// The end of [`refuse_inserts`].
pub async fn accept_inserts(stage: &Stage, table: &str) {
    let sql = if stage.is_postgres() {
        format!("DROP TRIGGER refuse ON {table}; DROP FUNCTION refuse()")
    } else {
        "DROP TRIGGER refuse".to_owned()
    };
    tamper(stage, &sql).await;
}

/// From now on every transaction that inserts into this table fails, and only when it is committed.
pub async fn refuse_commits(stage: &Stage, table: &str) {
    let tables = "CREATE TABLE there (id TEXT PRIMARY KEY);
        CREATE TABLE nowhere (id TEXT REFERENCES there (id) DEFERRABLE INITIALLY DEFERRED);";
    let trigger = if stage.is_postgres() {
        format!(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO payment.nowhere VALUES ('x'); RETURN NEW; END $$;
            CREATE TRIGGER spoil BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION spoil()"
        )
    } else {
        format!("CREATE TRIGGER spoil BEFORE INSERT ON {table} BEGIN INSERT INTO nowhere VALUES ('x'); END")
    };
    tamper(stage, &format!("{tables}{trigger}")).await;
}

/// The end of [`refuse_commits`].
pub async fn accept_commits(stage: &Stage, table: &str) {
    let on = if stage.is_postgres() { format!("ON {table}; DROP FUNCTION spoil()") } else { String::new() };
    tamper(stage, &format!("DROP TRIGGER spoil {on}")).await;
}

/// A database that nobody can use for a while.
pub struct Outage {
    connection: DatabaseConnection,
    /// How it ends.
    end: String,
}

impl Outage {
    /// PostgreSQL throws everybody out and lets nobody in; SQLite is locked by somebody else.
    pub async fn begin(stage: &Stage) -> Self {
        let url = stage.database_settings().url;
        if !stage.is_postgres() {
            let mut options = ConnectOptions::new(url);
            // The one that locks is the one that unlocks.
            options.max_connections(1);
            let connection = Database::connect(options).await.unwrap();
            connection.execute_unprepared("BEGIN EXCLUSIVE").await.unwrap();
            return Self { connection, end: "ROLLBACK".to_owned() };
        }
        let (server, name) = url.rsplit_once('/').unwrap();
        let connection = Database::connect(format!("{server}/postgres")).await.unwrap();
        let lock = format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false");
        connection.execute_unprepared(&lock).await.unwrap();
        let expel =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        connection.execute_unprepared(&expel).await.unwrap();
        Self { connection, end: format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true") }
    }

    pub async fn end(self) {
        self.connection.execute_unprepared(&self.end).await.unwrap();
        self.connection.close().await.unwrap();
    }
}

/// Panics at one place, a few times.
pub struct Panics {
    point: &'static str,
    left: AtomicUsize,
}

impl Panics {
    /// The same world, in which the program panics the next `times` times it comes to `point`.
    pub fn within(world: &World, point: &'static str, times: usize) -> World {
        world.clone().with_fail_points(Arc::new(Self { point, left: AtomicUsize::new(times) }))
    }
}

impl FailPoints for Panics {
    fn reach(&self, point: &'static str) {
        let one_less = |left: usize| left.checked_sub(1);
        if point == self.point && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
        {
            panic!("on purpose at {point}");
        }
    }
}
