//! Taking the next job: waiting ones whose time has come, and running ones whose attempt is gone.

use quire_database::now;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, ExprTrait, QueryFilter};
use serde_json::json;

use crate::ending::{self, FINISH};
use crate::error::Stop;
use crate::events::Kind;
use crate::fair::{self, Limits, Turn, Which};
use crate::lease::Lease;
use crate::pause;
use crate::retry;
use crate::steps::review;
use crate::store::entity::{job, lease};
use crate::store::{Change, Status, Store};
use crate::worker::Pace;

/// A step at which this many attempts ended without a word is not tried again.
const MAX_CRASHES: i32 = 3;

/// What became of a turn.
pub enum Claim {
    /// The job is ours.
    Taken {
        job: Box<job::Model>,
        lease: Lease,
        /// The attempt before ended without a word.
        taken_over: bool,
    },
    /// The job was put away: its attempts broke off too often, or it was to rest.
    PutAway,
    /// Somebody else was faster.
    Missed,
}

/// Whose jobs this process may take now, at most so many, without taking any. One at its last try is alone in its process:
/// it may have taken others down with it, or have been taken down with another, and only now it shows.
///
/// Only one task of a process looks and takes what it found: it counts what it has itself.
///
/// # Errors
/// The database is gone.
pub async fn look(store: &Store, limits: Limits, most: usize) -> Result<Vec<Turn>, DbErr> {
    // Without a transaction: who finds nothing must not take SQLite's one write lock.
    let reader = store.database.reader();
    let now = now(reader).await?;
    let here = fair::at_work(reader, now, &store.boot_id).await?;
    if here.suspects > 0 {
        return Ok(Vec::new());
    }
    if here.waiting > 0 {
        let mut suspects = fair::turns(reader, now, limits, Which::Suspects, 1).await?;
        if !suspects.is_empty() {
            // Else it waits for the end of those that are at work here, and nothing new is begun.
            suspects.retain(|_| here.jobs == 0);
            return Ok(suspects);
        }
    }
    fair::turns(reader, now, limits, Which::Others, most).await
}

/// Takes the next job of the user whose turn it is, in one short transaction.
///
/// # Errors
/// The database is gone or busy.
pub async fn claim(store: &Store, worker: &str, pace: &Pace, turn: &Turn) -> Result<Claim, DbErr> {
    let at = store.world.now();
    let tx = store.database.begin_write().await?;
    let now = now(&tx).await?;
    if !fair::is_room(&tx, now, pace.limits).await? || !fair::begin_turn(&tx, turn).await? {
        return Ok(Claim::Missed);
    }
    // Counted again: other processes have been at work since the look.
    let Some(job_id) = fair::next_job(&tx, now, pace.limits, turn).await? else {
        return Ok(Claim::Missed);
    };
    // The lease row may be newer than the snapshot, too.
    let held = lease::Entity::find_by_id(&job_id).one(&tx).await?;
    let job = job::Entity::find_by_id(&job_id).one(&tx).await?;
    let (Some(held), Some(mut job)) = (held, job) else {
        return Ok(Claim::Missed);
    };
    let taken_over = match job.status() {
        Status::Queued if job.run_at <= now.unix_micros() => false,
        Status::Running if held.expires_at < now.unix_micros() => true,
        _ => return Ok(Claim::Missed),
    };
    fair::served(&tx, now, &turn.user_id).await?;
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
            return Ok(Claim::PutAway);
        }
        if job.crash_count >= MAX_CRASHES {
            let sentence = "the work broke off three times at the same step".to_owned();
            let ending = ending::given_up(&job, "poison", sentence);
            ending::write(&mut change, &job, &lease, ending).await?;
            change.commit().await?;
            return Ok(Claim::PutAway);
        }
        if job.pause_requested_at.is_some() && job.step != FINISH {
            pause::lay_down(&mut change, &job);
            lease.release(&change.tx).await?;
            change.commit().await?;
            return Ok(Claim::PutAway);
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
    Ok(Claim::Taken { job: Box::new(job), lease, taken_over })
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
    store.world.reach("job.queue.before_give_back");
    change.commit().await?;
    store.world.reach("job.queue.given_back");
    Ok(())
}
