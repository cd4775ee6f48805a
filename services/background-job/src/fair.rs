//! Whose job is next: users take turns, and none has more jobs at work than allowed.
//!
//! What runs is counted from the live leases, each time, under a lock of the user's row in `user_slots`: a count that
//! is kept somewhere would go wrong with the first process that dies.

use quire_clock::Timestamp;
use sea_orm::sea_query::{Expr, LockBehavior, LockType};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    QuerySelect, Statement, Value,
};

use crate::one_row::one_row;
use crate::store::entity::slot;

/// Jobs with their leases.
const JOBS: &str = "jobs job JOIN job_leases held ON held.job_id = job.id";
/// Those that somebody has, or had until the lease ran out.
const TAKEN: &str = "jobs job JOIN job_leases held ON held.job_id = job.id WHERE job.status = 'running'";
/// The order of a user's waiting jobs; as the index has it.
const RANK: &str = "job.priority DESC, job.pages, job.created_at, job.id";
/// Its next claim is its last try: twice a process died while it was at work on its present step. Who broke down by
/// itself has left its lease empty.
const SUSPECT_GONE: &str = "(job.crash_count = 1 AND held.boot_id <> '')";
/// The same while it waits; while it is at work, it is at its last try.
const SUSPECT_WAITING: &str = "job.crash_count >= 2";

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
    /// Of jobs whose attempt is gone.
    fn gone(self) -> String {
        match self {
            Self::Suspects => SUSPECT_GONE.to_owned(),
            Self::Others => format!("NOT {SUSPECT_GONE}"),
        }
    }

    /// Of jobs that wait.
    fn waiting(self) -> String {
        match self {
            Self::Suspects => SUSPECT_WAITING.to_owned(),
            Self::Others => format!("NOT ({SUSPECT_WAITING})"),
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
    let values = [now.unix_micros().into(), boot_id.into()];
    let row = one_row(connection, &at_work_sql(), values).await?;
    Ok(AtWork {
        jobs: row.try_get("", "jobs")?,
        suspects: row.try_get("", "suspects")?,
        waiting: row.try_get("", "waiting")?,
    })
}

/// `$1`: now; `$2`: the process.
fn at_work_sql() -> String {
    let count = |jobs: &str| format!("(SELECT COUNT(*) FROM {jobs})");
    let mine = format!("{TAKEN} AND held.expires_at >= $1 AND held.boot_id = $2");
    let waiting = format!(
        "{JOBS} WHERE job.finished_at IS NULL AND job.crash_count > 0
           AND ((job.status = 'queued' AND job.run_at <= $1 AND {SUSPECT_WAITING})
             OR (job.status = 'running' AND held.expires_at < $1 AND {SUSPECT_GONE}))"
    );
    format!(
        "SELECT {} AS jobs, {} AS suspects, {} AS waiting",
        count(&mine),
        count(&format!("{mine} AND {SUSPECT_WAITING}")),
        count(&waiting),
    )
}

/// The next one who may be served, as a look at the queue found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub user_id: String,
    pub which: Which,
    /// When a job of the user was taken last; who finds another time has come too late.
    served_at: i64,
}

/// The users with such jobs who are served next, at most so many: who has the fewest jobs at work, then who was served the
/// longest ago, then who has a job whose attempt is gone, then whose best job ranks higher or is older. All of them have
/// equally many at work, so that serving one changes nothing for those behind. Empty if no job is free, or none may be
/// taken now.
///
/// The time it takes grows with the users who have open jobs, not with the jobs: it goes from user to user along an index
/// ("loose index scan") and looks at the best job of each.
///
/// # Errors
/// The database is gone.
pub async fn turns(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    limits: Limits,
    which: Which,
    most: usize,
) -> Result<Vec<Turn>, DbErr> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let values = [now.unix_micros().into(), bound(limits.per_user), bound(limits.global), most.into()];
    let statement =
        Statement::from_sql_and_values(connection.get_database_backend(), turns_sql(which), values);
    let mut turns = Vec::new();
    let mut fewest = None;
    for row in connection.query_all_raw(statement).await? {
        let running: i64 = row.try_get("", "running")?;
        if *fewest.get_or_insert(running) != running {
            break;
        }
        let (user_id, served_at) = (row.try_get("", "user_id")?, row.try_get("", "served_at")?);
        turns.push(Turn { user_id, which, served_at });
    }
    Ok(turns)
}

/// `$1`: now; `$2` and `$3`: the limits of a user and of all; `$4`: how many turns.
fn turns_sql(which: Which) -> String {
    let next_open = |after: &str| {
        format!(
            "(SELECT job.user_id FROM jobs job WHERE job.finished_at IS NULL{after}
              ORDER BY job.user_id LIMIT 1)"
        )
    };
    let (gone, waiting) = (which.gone(), which.waiting());
    let (first, following) = (next_open(""), next_open(" AND job.user_id > users.user_id"));
    format!(
        "WITH RECURSIVE users(user_id) AS (
           SELECT {first}
           UNION ALL
           SELECT {following} FROM users WHERE users.user_id IS NOT NULL
         ), taken AS (
           SELECT job.user_id AS user_id, SUM(CASE WHEN held.expires_at >= $1 THEN 1 ELSE 0 END) AS running,
                  SUM(CASE WHEN held.expires_at < $1 AND {gone} THEN 1 ELSE 0 END) AS gone
           FROM {TAKEN} GROUP BY job.user_id
         ), standing AS (
           SELECT users.user_id AS user_id, COALESCE(taken.running, 0) AS running, COALESCE(taken.gone, 0) AS gone,
                  (SELECT job.id FROM jobs job
                   WHERE job.status = 'queued' AND job.user_id = users.user_id AND job.run_at <= $1 AND {waiting}
                   ORDER BY {RANK} LIMIT 1) AS best
           FROM users LEFT JOIN taken ON taken.user_id = users.user_id
         )
         SELECT slot.user_id AS user_id, slot.served_at AS served_at, standing.running AS running
         FROM user_slots slot JOIN standing ON standing.user_id = slot.user_id
              LEFT JOIN jobs best ON best.id = standing.best
         WHERE (standing.gone > 0 OR best.id IS NOT NULL) AND standing.running < $2
           AND (CAST($3 AS BIGINT) = 0 OR COALESCE((SELECT SUM(running) FROM taken), 0) < $3)
         ORDER BY standing.running, slot.served_at, standing.gone DESC, COALESCE(best.priority, 0) DESC,
                  best.created_at, slot.user_id LIMIT $4"
    )
}

/// Whether one more job may be at work, of whomever. Under that limit, everybody else who takes a job is held up until the
/// end of the transaction; SQLite has one writer at a time anyway.
///
/// # Errors
/// The database is gone.
pub async fn is_room(tx: &DatabaseTransaction, now: Timestamp, limits: Limits) -> Result<bool, DbErr> {
    if limits.global == 0 {
        return Ok(true);
    }
    if tx.get_database_backend() == DatabaseBackend::Postgres {
        tx.execute_unprepared("SELECT user_id FROM user_slots WHERE user_id = '' FOR UPDATE").await?;
    }
    let sql = format!("SELECT COUNT(*) AS jobs FROM {TAKEN} AND held.expires_at >= $1");
    let jobs: i64 = one_row(tx, &sql, [now.unix_micros().into()]).await?.try_get("", "jobs")?;
    Ok(jobs < i64::from(limits.global))
}

/// Takes the user's row until the end of the transaction. False if somebody else has it, or has had it since.
///
/// # Errors
/// The database is gone.
pub async fn begin_turn(tx: &DatabaseTransaction, turn: &Turn) -> Result<bool, DbErr> {
    let row = slot::Entity::find_by_id(&turn.user_id);
    let row = row.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked).one(tx).await?;
    Ok(row.is_some_and(|slot| slot.served_at == turn.served_at))
}

/// The user's next job: one whose attempt is gone, for its customer waits already; then the highest priority, then the
/// smallest, then the oldest. `None` if the user has as many at work as allowed. Its lease row is held until the end of
/// the transaction. The transaction must hold the user's row already: only then nobody else takes a job of the same user
/// at this moment.
///
/// # Errors
/// The database is gone.
pub async fn next_job(
    tx: &DatabaseTransaction,
    now: Timestamp,
    limits: Limits,
    turn: &Turn,
) -> Result<Option<String>, DbErr> {
    let lock = match tx.get_database_backend() {
        DatabaseBackend::Postgres => " FOR UPDATE OF held SKIP LOCKED",
        _ => "",
    };
    let room = format!(
        "job.user_id = $2
         AND (SELECT COUNT(*) FROM {TAKEN} AND job.user_id = $2 AND held.expires_at >= $1) < $3"
    );
    let gone = format!("{TAKEN} AND held.expires_at < $1 AND {}", turn.which.gone());
    let waiting =
        format!("{JOBS} WHERE job.status = 'queued' AND job.run_at <= $1 AND {}", turn.which.waiting());
    for jobs in [gone, waiting] {
        let sql = format!("SELECT job.id AS found FROM {jobs} AND {room} ORDER BY {RANK} LIMIT 1{lock}");
        let values = [now.unix_micros().into(), turn.user_id.as_str().into(), bound(limits.per_user)];
        let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
        if let Some(row) = tx.query_one_raw(statement).await? {
            return row.try_get("", "found").map(Some);
        }
    }
    Ok(None)
}

/// Holds the user's row until the end of the transaction: no job of the user is taken, and no other transaction holds it.
/// SQLite has one writer at a time anyway.
///
/// # Errors
/// The database is gone.
pub async fn lock_user(tx: &DatabaseTransaction, user_id: &str) -> Result<(), DbErr> {
    slot::Entity::find_by_id(user_id).lock_exclusive().one(tx).await.map(|_| ())
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

#[cfg(test)]
mod tests;
