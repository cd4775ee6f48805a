//! Taking the next job: waiting ones whose time has come, and running ones whose attempt is gone.

use quire_clock::Timestamp;
use quire_database::now;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter};
use serde_json::json;

use crate::ending::{self, FINISH};
use crate::error::Stop;
use crate::events::Kind;
use crate::fair::{self, Which};
use crate::lease::Lease;
use crate::pause;
use crate::retry;
use crate::steps::review;
use crate::store::entity::{job, lease};
use crate::store::{Change, Status, Store};
use crate::worker::Pace;

/// A step at which this many attempts ended without a word is not tried again.
const MAX_CRASHES: i32 = 3;

/// What a look at the queue gave.
pub enum Claim {
    /// The job is ours.
    Taken {
        job: Box<job::Model>,
        lease: Lease,
        /// The attempt before ended without a word.
        taken_over: bool,
    },
    /// Somebody else was faster, or a poisoned job was ended: look again.
    Again,
    Nothing,
}

/// Takes the next job, in one short transaction.
///
/// # Errors
/// The database is gone or busy.
pub async fn claim(store: &Store, worker: &str, pace: &Pace) -> Result<Claim, DbErr> {
    let reader = store.database.reader();
    // Looked up without a transaction first: an idle worker must not take SQLite's one write lock.
    if !store.database.is_postgres() && next(store, reader, now(reader).await?, pace, false).await?.is_none()
    {
        return Ok(Claim::Nothing);
    }
    // One after the other in this process: what its workers have is counted below.
    let _turn = store.claiming.lock().await;
    let at = store.world.now();
    let tx = store.database.begin_write().await?;
    let now = now(&tx).await?;
    fair::lock_all(&tx, pace.limits).await?;
    let Some((user_id, which)) = next(store, &tx, now, pace, true).await? else {
        return Ok(Claim::Nothing);
    };
    // Counted again: on PostgreSQL the user's row may be newer than the snapshot that chose it.
    let Some(job_id) = fair::next_job(&tx, now, pace.limits, which, &user_id).await? else {
        return Ok(Claim::Nothing);
    };
    // The lease row may be newer than the snapshot, too.
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
    fair::served(&tx, now, &user_id).await?;
    let lease = Lease::new(&job_id, held.epoch + 1, store.boot_id.clone());
    lease::Entity::update_many()
        .col_expr(lease::Column::Epoch, Expr::value(lease.epoch))
        .col_expr(lease::Column::BootId, Expr::value(&*lease.boot_id))
        .col_expr(lease::Column::Worker, Expr::value(worker))
        .col_expr(lease::Column::ExpiresAt, Expr::value(now.plus(pace.lease).unix_micros()))
        .filter(lease::Column::JobId.eq(&job_id))
        .exec(&tx)
        .await?;

    let mut change = Change::new(store, tx, &job_id, at);
    if taken_over {
        job.crash_count += 1;
        change.set(job::Column::CrashCount, job.crash_count);
        if job.crash_count >= MAX_CRASHES && job.step == FINISH {
            // The customer may have the document already: it is tried for ever, but no longer at once.
            tracing::error!(job_id, crashes = job.crash_count, "the handing over of a document breaks off");
            let delay = retry::delay(&store.world, pace.retry_base, job.crash_count, None);
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
        if job.pause_requested_at.is_some() && job.step != FINISH {
            pause::lay_down(&mut change, &job);
            lease.release(&change.tx).await?;
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
    // Whoever skipped the user's row while it was held here looks again.
    store.wakes.queue.notify_waiters();
    Ok(Claim::Taken { job: Box::new(job), lease, taken_over })
}

/// Whose job this process may take, and which kind of it. One at its last try is alone in its process: it may have taken
/// others down with it, or have been taken down with another, and only now it shows.
async fn next(
    store: &Store,
    connection: &impl ConnectionTrait,
    now: Timestamp,
    pace: &Pace,
    lock: bool,
) -> Result<Option<(String, Which)>, DbErr> {
    let here = fair::at_work(connection, now, &store.boot_id).await?;
    if here.suspects > 0 {
        return Ok(None);
    }
    if here.waiting > 0 {
        let suspect = fair::next_user(connection, now, pace.limits, Which::Suspects, lock).await?;
        if suspect.is_some() {
            // Else it waits for the end of those that are at work here, and nothing new is begun.
            return Ok(suspect.filter(|_| here.jobs == 0).map(|user_id| (user_id, Which::Suspects)));
        }
    }
    let user_id = fair::next_user(connection, now, pace.limits, Which::Others, lock).await?;
    Ok(user_id.map(|user_id| (user_id, Which::Others)))
}

/// Puts a job back into the queue as it is, or to rest if that was wanted: no attempt of a step is spent.
pub async fn give_back(store: &Store, lease: &Lease) -> Result<(), Stop> {
    give_back_for(store, lease, None).await
}

/// Lays a job to rest for a reason of its own, until that is gone. One that shall end goes back to the queue.
pub async fn lay_to_rest(store: &Store, lease: &Lease, reason: &'static str) -> Result<(), Stop> {
    give_back_for(store, lease, Some(reason)).await
}

async fn give_back_for(store: &Store, lease: &Lease, reason: Option<&'static str>) -> Result<(), Stop> {
    let mut change = store.change(lease).await?;
    let mut job = change.job().await?.ok_or(Stop::LeaseLost)?;
    // It may be gone already: the customer was faster.
    let gone = reason == Some(review::REASON) && review::is_approved(&change, &job.id).await?;
    let wanted = job.pause_requested_at.is_some() || job.cancel_requested_at.is_some();
    if let (Some(reason), false) = (reason, gone || wanted) {
        job.pause_requested_at = Some(change.at.unix_micros());
        reason.clone_into(&mut job.pause_reason);
        change.set(job::Column::PauseReason, reason);
    }
    lease.release(&change.tx).await?;
    pause::lay_down(&mut change, &job);
    // The claim that comes next counts again; this one was not the job's fault.
    change.set(job::Column::Attempt, Expr::col(job::Column::Attempt).sub(1));
    change.call();
    Ok(change.commit().await?)
}
