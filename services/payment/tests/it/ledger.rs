//! What the tables say after a test.

use sea_orm::{ConnectionTrait, DatabaseBackend, Statement};

use crate::stage::Stage;

/// Every amount in the books, summed by order and currency: zero, or a debit has no credit.
pub async fn balances(stage: &Stage) -> Vec<i64> {
    numbers(
        stage,
        "SELECT CAST(SUM(amount_minor) AS BIGINT) AS n FROM ledger_entries GROUP BY order_id, currency",
    )
    .await
}

/// What an account holds.
pub async fn balance(stage: &Stage, account: &str) -> i64 {
    let sql = format!(
        "SELECT CAST(COALESCE(SUM(amount_minor), 0) AS BIGINT) AS n FROM ledger_entries WHERE account = '{account}'"
    );
    numbers(stage, &sql).await[0]
}

/// How many rows a table has.
pub async fn count(stage: &Stage, table: &str) -> i64 {
    numbers(stage, &format!("SELECT CAST(COUNT(*) AS BIGINT) AS n FROM {table}")).await[0]
}

/// The rows of a query whose one column is the text `n`.
pub async fn texts(stage: &Stage, sql: &str) -> Vec<String> {
    values(stage, sql).await
}

/// Changes the tables as no service would.
pub async fn tamper(stage: &Stage, sql: &str) {
    stage.database().await.reader().execute_unprepared(sql).await.unwrap();
}

async fn numbers(stage: &Stage, sql: &str) -> Vec<i64> {
    values(stage, sql).await
}

async fn values<T: sea_orm::TryGetable>(stage: &Stage, sql: &str) -> Vec<T> {
    let database = stage.database().await;
    let backend = if database.is_postgres() { DatabaseBackend::Postgres } else { DatabaseBackend::Sqlite };
    let rows = database.reader().query_all_raw(Statement::from_string(backend, sql)).await.unwrap();
    rows.iter().map(|row| row.try_get("", "n").unwrap()).collect()
}
