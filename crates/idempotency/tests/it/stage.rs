//! The keys of one service, as two of its processes see them.

use std::sync::Arc;

use quire_clock::{ManualClock, Timestamp, World};
use quire_database::Database;
use quire_fault::Fault;
use quire_idempotency::{Answer, Call, IdempotencyError, Keys};
use quire_migrations::PaymentMigrator;
use quire_testkit::{Backend, TestDatabase};
use sea_orm::{ConnectionTrait, Statement};

/// What the work of these tests answers: a text.
pub type Told = Result<Answer<String>, Failure>;

/// How a call can end badly.
#[derive(Debug)]
pub enum Failure {
    /// The keys stood in the way.
    Keys(IdempotencyError),
    /// The work itself failed.
    Work,
}

impl From<IdempotencyError> for Failure {
    fn from(error: IdempotencyError) -> Self {
        Self::Keys(error)
    }
}

impl Failure {
    /// What a client is told of it.
    pub fn fault(self) -> Fault {
        match self {
            Self::Keys(error) => error.into(),
            Self::Work => panic!("the work failed"),
        }
    }
}

pub struct Stage {
    pub clock: Arc<ManualClock>,
    /// Two processes on one database.
    pub keys: [Keys; 2],
    database: Database,
    _file: TestDatabase,
}

impl Stage {
    pub async fn new(backend: Backend) -> Self {
        let file = backend.create().await;
        let settings = quire_database::Settings {
            url: file.url().to_owned(),
            schema: "payment".to_owned(),
            max_connections: 6,
        };
        let database = quire_database::open(&settings).await.unwrap();
        database.migrate::<PaymentMigrator>().await.unwrap();
        let other = quire_database::open(&settings).await.unwrap();
        let clock = ManualClock::at(Timestamp::from_unix_seconds(1_795_467_200));
        let world = World::with_clock(clock.clone());
        let keys = [Keys::new(database.clone(), world.clone()), Keys::new(other, world)];
        Self { clock, keys, database, _file: file }
    }

    /// Answers at once.
    pub async fn answer(&self, call: Call, answer: &str) -> Told {
        let answer = answer.to_owned();
        self.keys[0].run(call, async move |_| Ok(answer)).await
    }

    /// Ends the lease of every try, as time does by the database's own clock.
    pub async fn end_leases(&self) {
        self.change("UPDATE idempotency_keys SET lease_until = lease_until - 46000000").await;
    }

    pub async fn change(&self, sql: &str) {
        self.database.reader().execute_unprepared(sql).await.unwrap();
    }

    pub async fn rows(&self) -> i64 {
        let backend = self.database.reader().get_database_backend();
        let sql = "SELECT CAST(COUNT(*) AS BIGINT) AS n FROM idempotency_keys";
        let row = self.database.reader().query_one_raw(Statement::from_string(backend, sql)).await;
        row.unwrap().unwrap().try_get("", "n").unwrap()
    }
}

/// Ada's call of a route, under a key.
pub fn call(key: &str, request: &str) -> Call {
    Call::new("ada", "make", key, &request.to_owned())
}

/// What was answered, and whether it was a repetition.
pub fn told(answer: Told) -> (String, bool) {
    let answer = answer.unwrap();
    (answer.message, answer.replayed)
}
