//! Taking the next job: waiting ones whose time has come, and running ones whose attempt is gone.

use std::time::Duration;

use quire_clock::Timestamp;
use quire_database::now;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, Statement};
use serde_json::json;

use crate::ending::{self, FINISH};
use crate::events::Kind;
use crate::lease::Lease;
use crate::retry;
use crate::store::entity::{job, lease};
use crate::store::{Change, Status, Store};

/// A step at which this many attempts ended without a word is not tried again.
const MAX_CRASHES: i32 = 3;

/// What a look at the queue gave.
pub enum Claim {
    /// The job is ours.
    Taken(Box<job::Model>, Lease),
    /// Somebody else was faster, or a poisoned job was ended: look again.
    Again,
    Nothing,
}

/// Takes the next job, in one short transaction. `retry_base` is the first backoff of one that is put off instead.
///
/// # Errors
/// The database is gone or busy.
pub async fn claim(
    store: &Store,
    worker: &str,
    length: Duration,
    retry_base: Duration,
) -> Result<Claim, DbErr> {
    // Looked up without a transaction first: an idle worker must not take SQLite's one write lock.
    let reader = store.database.reader();
    if candidate(reader, now(reader).await?, "").await?.is_none() {
        return Ok(Claim::Nothing);
    }
    let at = store.world.now();
    let tx = store.database.begin_write().await?;
    let now = now(&tx).await?;
    // Rows that others hold are skipped on PostgreSQL; SQLite has one writer at a time, which is us.
    let lock = if store.database.is_postgres() { " FOR UPDATE OF held SKIP LOCKED" } else { "" };
    let Some(job_id) = candidate(&tx, now, lock).await? else {
        return Ok(Claim::Nothing);
    };
    // On PostgreSQL the row locked above may be newer than the snapshot that chose it: look again.
    let held = lease::Entity::find_by_id(&job_id).one(&tx).await?;
    let job = job::Entity::find_by_id(&job_id).one(&tx).await?;
    let (Some(held), Some(mut job)) = (held, job) else {
        return Ok(Claim::Again);
    };
    let taken_over = match job.status() {
        Status::Queued if job.run_at <= now.unix_micros() => false,
        Status::Running if held.expires_at < now.unix_micros() => true,
        _ => return Ok(Claim::Again),
    };
    let lease = Lease { job_id: job_id.clone(), epoch: held.epoch + 1, boot_id: store.boot_id.clone() };
    lease::Entity::update_many()
        .col_expr(lease::Column::Epoch, Expr::value(lease.epoch))
        .col_expr(lease::Column::BootId, Expr::value(&*lease.boot_id))
        .col_expr(lease::Column::Worker, Expr::value(worker))
        .col_expr(lease::Column::ExpiresAt, Expr::value(now.plus(length).unix_micros()))
        .filter(lease::Column::JobId.eq(&job_id))
        .exec(&tx)
        .await?;

    let mut change = Change::new(tx, &job_id, at, store.wakes.clone());
    if taken_over {
        job.crash_count += 1;
        change.set(job::Column::CrashCount, job.crash_count);
        if job.crash_count >= MAX_CRASHES && job.step == FINISH {
            // The customer may have the document already: it is tried for ever, but no longer at once.
            tracing::error!(job_id, crashes = job.crash_count, "the handing over of a document breaks off");
            let delay = retry::delay(&store.world, retry_base, job.crash_count, None);
            retry::enqueue(&mut change, &job, now, delay, job.crash_count, "the work broke off");
            lease.release(&change.tx).await?;
            change.commit().await?;
            return Ok(Claim::Again);
        }
        if job.crash_count >= MAX_CRASHES {
            let sentence = "the work broke off three times at the same step".to_owned();
            let ending = ending::given_up(&job, "poison", sentence);
            ending::write(&mut change, &job, &lease, ending).await?;
            change.commit().await?;
            return Ok(Claim::Again);
        }
    }
    job.attempt += 1;
    job.status = Status::Running.name().to_owned();
    change.set(job::Column::Attempt, job.attempt);
    change.set(job::Column::Status, Status::Running.name());
    change.event(Kind::Started, json!({ "attempt": job.attempt, "percent": job.percent }));
    store.world.reach("job.queue.before_commit");
    change.commit().await?;
    store.world.reach("job.queue.claimed");
    Ok(Claim::Taken(Box::new(job), lease))
}

/// The longest waiting job that can be had.
async fn candidate(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    lock: &str,
) -> Result<Option<String>, DbErr> {
    let backend = connection.get_database_backend();
    let sql = format!(
        "SELECT held.job_id AS job_id FROM job_leases held JOIN jobs job ON job.id = held.job_id
         WHERE job.finished_at IS NULL
           AND ((job.status = 'queued' AND job.run_at <= $1) OR (job.status = 'running' AND held.expires_at < $1))
         ORDER BY job.run_at, job.created_at, job.id LIMIT 1{lock}"
    );
    let statement = Statement::from_sql_and_values(backend, sql, [now.unix_micros().into()]);
    connection.query_one_raw(statement).await?.map(|row| row.try_get("", "job_id")).transpose()
}

/// Puts a job back into the queue as it is: no attempt of a step is spent.
pub async fn give_back(store: &Store, lease: &Lease) -> Result<(), crate::error::Stop> {
    let mut change = store.change(lease).await?;
    lease.release(&change.tx).await?;
    change.set(job::Column::Status, Status::Queued.name());
    // The claim that comes next counts again; this one was not the job's fault.
    change.set(job::Column::Attempt, Expr::col(job::Column::Attempt).sub(1));
    change.commit().await?;
    store.wakes.queue.notify_waiters();
    Ok(())
}
