//! Pausing a job and letting it go on. One that runs comes to its next checkpoint first, so that no text is paid twice.

use sea_orm::sea_query::Expr;
use serde_json::json;

use crate::approve;
use crate::ending::FINISH;
use crate::error::JobError;
use crate::events::Kind;
use crate::query::Caller;
use crate::store::entity::job;
use crate::store::{Change, Status, Store};

/// Who wanted a pause, as it is stored.
const OWNER: &str = "owner";
const OPERATOR: &str = "operator";

/// Pauses a job: at once if it waits, else at its next checkpoint. One that is paused, about to be or at its end stays
/// as it is.
///
/// # Errors
/// There is no such job, or the database is gone.
pub async fn pause(store: &Store, caller: &Caller, job_id: &str) -> Result<job::Model, JobError> {
    let mut change = store.change_unleased(job_id).await?;
    let mut job = change.job().await?.ok_or(JobError::NotFound)?;
    let ending = job.step == FINISH || job.cancel_requested_at.is_some();
    if ending || job.pause_requested_at.is_some() {
        return Ok(job);
    }
    let reason = if *caller == Caller::Operator { OPERATOR } else { OWNER };
    match job.status() {
        Status::Queued => {
            reason.clone_into(&mut job.pause_reason);
            rest(&mut change, &job);
        }
        Status::Running => change.set(job::Column::PauseRequestedAt, change.at.unix_micros()),
        Status::Paused | Status::Completed | Status::Failed | Status::Cancelled => return Ok(job),
    }
    change.set(job::Column::PauseReason, reason);
    change.call();
    store.world.reach("job.pause.before_commit");
    change.commit().await?;
    store.world.reach("job.pause.committed");
    store.job(job_id).await?.ok_or(JobError::NotFound)
}

/// Lets a paused job go on, or takes back a pause that it has not come to yet. Any other job stays as it is.
///
/// # Errors
/// There is no such job, an operator's pause is not the caller's to end, or the database is gone.
pub async fn resume(store: &Store, caller: &Caller, job_id: &str) -> Result<job::Model, JobError> {
    let mut change = store.change_unleased(job_id).await?;
    let job = change.job().await?.ok_or(JobError::NotFound)?;
    let paused = job.status() == Status::Paused;
    if !paused && job.pause_requested_at.is_none() {
        return Ok(job);
    }
    if approve::rests(&job) {
        drop(change);
        return approve::of_job(store, job_id).await;
    }
    if job.pause_reason == OPERATOR && *caller != Caller::Operator {
        return Err(JobError::PausedByOperator);
    }
    if paused {
        go_on(&mut change, &job);
    } else {
        forget(&mut change);
    }
    change.call();
    store.world.reach("job.resume.before_commit");
    change.commit().await?;
    store.world.reach("job.resume.committed");
    store.job(job_id).await?.ok_or(JobError::NotFound)
}

/// A job that is paused waits for a worker again.
pub fn go_on(change: &mut Change, job: &job::Model) {
    forget(change);
    change.set(job::Column::Status, Status::Queued.name());
    change.event(Kind::Resumed, json!({ "percent": job.percent }));
}

/// Puts a job that nobody works on any more back into the queue, or to rest if that was wanted meanwhile. The caller
/// releases the lease.
pub fn lay_down(change: &mut Change, job: &job::Model) {
    // A document that is being handed over is the customer's already.
    if job.pause_requested_at.is_some() && job.step != FINISH {
        rest(change, job);
    } else {
        change.set(job::Column::Status, Status::Queued.name());
    }
}

/// Nobody wants a pause any more.
pub fn forget(change: &mut Change) {
    change.set(job::Column::PauseRequestedAt, Expr::value(None::<i64>));
    change.set(job::Column::PausedAt, Expr::value(None::<i64>));
    change.set(job::Column::PauseReason, "");
}

fn rest(change: &mut Change, job: &job::Model) {
    change.set(job::Column::Status, Status::Paused.name());
    change.set(job::Column::PauseRequestedAt, Expr::value(None::<i64>));
    change.set(job::Column::PausedAt, change.at.unix_micros());
    change.event(Kind::Paused, json!({ "reason": job.pause_reason, "percent": job.percent }));
}
