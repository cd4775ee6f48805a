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
/// Its next claim is its last try: twice a process died while it was at work on its present step. Who broke down by
/// itself has left its lease empty.
const SUSPECT: &str = "(job.status = 'queued' AND job.crash_count >= 2)
    OR (job.status = 'running' AND job.crash_count = 1 AND held.boot_id <> '')";
const JOBS: &str = "jobs job JOIN job_leases held ON held.job_id = job.id";

/// How many jobs may be at work at the same time, in all processes together.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub per_user: u32,
    /// 0: no limit.
    pub global: u32,
}

/// Which of the free jobs are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Whose last try comes next, because processes died while they were at work.
    Suspects,
    Others,
}

impl Which {
    fn free(self) -> String {
        match self {
            Self::Suspects => format!("({FREE}) AND ({SUSPECT})"),
            Self::Others => format!("({FREE}) AND NOT ({SUSPECT})"),
        }
    }
}

/// What a process has at work, and whether jobs at their last try wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtWork {
    pub jobs: i64,
    /// Those of them that are at their last try.
    pub suspects: i64,
    /// Suspects that are free, whoever's.
    pub waiting: i64,
}

/// Looks at the jobs of a process and at those that broke off.
///
/// # Errors
/// The database is gone.
pub async fn at_work(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    boot_id: &str,
) -> Result<AtWork, DbErr> {
    let count = |condition: &str| {
        format!("CAST(COALESCE(SUM(CASE WHEN {condition} THEN 1 ELSE 0 END), 0) AS BIGINT)")
    };
    let mine = format!("{LIVE} AND held.boot_id = $2");
    let sql = format!(
        "SELECT {} AS jobs, {} AS suspects, {} AS waiting FROM {JOBS}
         WHERE job.finished_at IS NULL AND (held.boot_id = $2 OR job.crash_count > 0)",
        count(&mine),
        count(&format!("{mine} AND job.crash_count >= 2")),
        count(&format!("({FREE}) AND ({SUSPECT})")),
    );
    let values = [now.unix_micros().into(), boot_id.into()];
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let row = connection.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("a count has one row".to_owned()))?;
    Ok(AtWork {
        jobs: row.try_get("", "jobs")?,
        suspects: row.try_get("", "suspects")?,
        waiting: row.try_get("", "waiting")?,
    })
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

/// The user with such a job who is served next: who has the fewest jobs at work, then who was served the longest ago, then whose best job
/// ranks higher or is older. `None` if no job is free, or none may be taken now. With `lock` the user's row is held until
/// the end of the transaction; those that others hold are skipped.
///
/// # Errors
/// The database is gone.
pub async fn next_user(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    limits: Limits,
    which: Which,
    lock: bool,
) -> Result<Option<String>, DbErr> {
    let lock = locking(connection, lock, "slot");
    let free = which.free();
    let sql = format!(
        "WITH standing AS (
           SELECT job.user_id AS user_id, job.priority AS priority, job.created_at AS created_at,
                  CASE WHEN {LIVE} THEN 1 ELSE 0 END AS live
           FROM {JOBS} WHERE job.finished_at IS NULL AND (({LIVE}) OR ({free}))
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
    which: Which,
    user_id: &str,
) -> Result<Option<String>, DbErr> {
    let lock = locking(tx, true, "held");
    let free = which.free();
    let sql = format!(
        "SELECT job.id AS found FROM {JOBS}
         WHERE job.finished_at IS NULL AND job.user_id = $2 AND ({free})
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
