//! A transaction that writes, and its turn.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr,
    ExecResult, QueryResult, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// So long a process waits for its own writers before it, and then SQLite for those of other processes.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The order in which the writers of a process get SQLite's one write lock: as they come. SQLite has no queue; who finds it
/// taken sleeps and looks again, so that the unlucky starve, and holds a connection of the pool meanwhile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<()>>);

/// A transaction that will write. Dropping it without `commit` rolls it back.
#[derive(Debug)]
pub struct WriteTransaction {
    transaction: DatabaseTransaction,
    /// Of SQLite. Kept until the transaction has ended.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl WriteTransaction {
    pub(crate) async fn begin(connection: &DatabaseConnection, turns: Option<&Turns>) -> Result<Self, DbErr> {
        let turn = match turns {
            Some(Turns(turns)) => {
                let turn = tokio::time::timeout(LONGEST_WAIT, Arc::clone(turns).lock_owned()).await;
                Some(turn.map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))?)
            }
            None => None,
        };
        let options = TransactionOptions {
            isolation_level: None,
            access_mode: None,
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        };
        Ok(Self { transaction: connection.begin_with_options(options).await?, _turn: turn })
    }

    /// Keeps what was written.
    ///
    /// # Errors
    /// The database is gone, or does not accept what was written.
    pub async fn commit(self) -> Result<(), DbErr> {
        self.transaction.commit().await
    }

    /// Keeps nothing.
    ///
    /// # Errors
    /// The database is gone.
    pub async fn rollback(self) -> Result<(), DbErr> {
        self.transaction.rollback().await
    }
}

impl Deref for WriteTransaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.transaction
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for WriteTransaction {
    fn get_database_backend(&self) -> DatabaseBackend {
        self.transaction.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.transaction.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.transaction.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.transaction.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.transaction.query_all_raw(statement).await
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::{Settings, open};
    use futures::future::join_all;

    /// More than the pool has connections.
    const WRITERS: u32 = 20;

    #[tokio::test]
    async fn writers_of_sqlite_come_in_turn_and_leave_readers_their_connections() {
        let folder = tempfile::tempdir().unwrap();
        let database = open(&Settings::sqlite(&folder.path().join("turns.db"))).await.unwrap();
        let reader = database.reader();
        reader.execute_unprepared("CREATE TABLE turns (writer INTEGER)").await.unwrap();

        let first = database.begin_write().await.unwrap();
        let write = async |number: u32| {
            let write = database.begin_write().await.unwrap();
            write.execute_unprepared(&format!("INSERT INTO turns VALUES ({number})")).await.unwrap();
            write.commit().await.unwrap();
        };
        let mut writers = pin!(join_all((1..=WRITERS).map(write)));
        // Each gets as far as it can.
        let waits = poll_fn(|context| Poll::Ready(writers.as_mut().poll(context).is_pending())).await;
        assert!(waits);
        reader.execute_unprepared("SELECT writer FROM turns").await.unwrap();
        first.commit().await.unwrap();
        writers.await;

        let order = "SELECT GROUP_CONCAT(writer) AS turns FROM (SELECT writer FROM turns ORDER BY rowid)";
        let statement = Statement::from_string(DatabaseBackend::Sqlite, order);
        let row = reader.query_one_raw(statement).await.unwrap().unwrap();
        let expected: Vec<String> = (1..=WRITERS).map(|number| number.to_string()).collect();
        assert_eq!(row.try_get::<String>("", "turns").unwrap(), expected.join(","));
    }
}
