//! Whose job is next: users take turns, and none has more jobs at work than allowed.
//!
//! What runs is counted from the live leases, each time, under a lock of the user's row in `user_slots`: a count that
//! is kept somewhere would go wrong with the first process that dies.

use quire_clock::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    Statement, Value,
};

use crate::store::entity::slot;

/// A job is at work: it must be read together with its lease.
const LIVE: &str = "job.status = 'running' AND held.expires_at >= $1";
/// A job may be taken: it waits and its time has come, or its attempt is gone.
const FREE: &str =
    "(job.status = 'queued' AND job.run_at <= $1) OR (job.status = 'running' AND held.expires_at < $1)";
const JOBS: &str = "jobs job JOIN job_leases held ON held.job_id = job.id";

/// How many jobs may be at work at the same time, in all processes together.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub per_user: u32,
    /// 0: no limit.
    pub global: u32,
}

/// Holds up everybody else who takes a job under the limit for all users, until the end of the transaction. SQLite has
/// one writer at a time anyway.
///
/// # Errors
/// The database is gone.
pub async fn lock_all(tx: &DatabaseTransaction, limits: Limits) -> Result<(), DbErr> {
    if limits.global > 0 && tx.get_database_backend() == DatabaseBackend::Postgres {
        tx.execute_unprepared("SELECT user_id FROM user_slots WHERE user_id = '' FOR UPDATE").await?;
    }
    Ok(())
}

/// The user who is served next: who has the fewest jobs at work, then who was served the longest ago, then whose best job
/// ranks higher or is older. `None` if no job is free, or none may be taken now. With `lock` the user's row is held until
/// the end of the transaction; those that others hold are skipped.
///
/// # Errors
/// The database is gone.
pub async fn next_user(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    limits: Limits,
    lock: bool,
) -> Result<Option<String>, DbErr> {
    let lock = locking(connection, lock, "slot");
    let sql = format!(
        "WITH standing AS (
           SELECT job.user_id AS user_id, job.priority AS priority, job.created_at AS created_at,
                  CASE WHEN {LIVE} THEN 1 ELSE 0 END AS live
           FROM {JOBS} WHERE job.finished_at IS NULL AND (({LIVE}) OR {FREE})
         ), users AS (
           SELECT user_id, SUM(live) AS running, SUM(1 - live) AS waiting,
                  MAX(CASE live WHEN 0 THEN priority END) AS best,
                  MIN(CASE live WHEN 0 THEN created_at END) AS oldest
           FROM standing GROUP BY user_id
         )
         SELECT slot.user_id AS found FROM user_slots slot JOIN users ON users.user_id = slot.user_id
         WHERE users.waiting > 0 AND users.running < $2
           AND (CAST($3 AS BIGINT) = 0 OR (SELECT SUM(running) FROM users) < $3)
         ORDER BY users.running, slot.served_at, users.best DESC, users.oldest, slot.user_id LIMIT 1{lock}"
    );
    let values = [now.unix_micros().into(), bound(limits.per_user), bound(limits.global)];
    found(connection, sql, values).await
}

/// The user's next job: the highest priority, then the smallest, then the oldest. `None` if the user has as many at work
/// as allowed. Its lease row is held until the end of the transaction. The transaction must hold the user's row already:
/// only then nobody else takes a job of the same user at this moment.
///
/// # Errors
/// The database is gone.
pub async fn next_job(
    tx: &DatabaseTransaction,
    now: Timestamp,
    limits: Limits,
    user_id: &str,
) -> Result<Option<String>, DbErr> {
    let lock = locking(tx, true, "held");
    let sql = format!(
        "SELECT job.id AS found FROM {JOBS}
         WHERE job.finished_at IS NULL AND job.user_id = $2 AND ({FREE})
           AND (SELECT COUNT(*) FROM {JOBS} WHERE job.finished_at IS NULL AND job.user_id = $2 AND {LIVE}) < $3
         ORDER BY job.priority DESC, job.pages, job.created_at, job.id LIMIT 1{lock}"
    );
    found(tx, sql, [now.unix_micros().into(), user_id.into(), bound(limits.per_user)]).await
}

/// Notes that a job of the user was taken.
///
/// # Errors
/// The database is gone.
pub async fn served(tx: &DatabaseTransaction, now: Timestamp, user_id: &str) -> Result<(), DbErr> {
    slot::Entity::update_many()
        .col_expr(slot::Column::ServedAt, Expr::value(now.unix_micros()))
        .filter(slot::Column::UserId.eq(user_id))
        .exec(tx)
        .await?;
    Ok(())
}

fn bound(count: u32) -> Value {
    i64::from(count).into()
}

fn locking(connection: &impl ConnectionTrait, wanted: bool, table: &str) -> String {
    match connection.get_database_backend() {
        DatabaseBackend::Postgres if wanted => format!(" FOR UPDATE OF {table} SKIP LOCKED"),
        _ => String::new(),
    }
}

async fn found(
    connection: &impl ConnectionTrait,
    sql: String,
    values: [Value; 3],
) -> Result<Option<String>, DbErr> {
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    connection.query_one_raw(statement).await?.map(|row| row.try_get("", "found")).transpose()
}
