//! Asking for the end of a job that is not done.

use quire_database::now;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::ending::{self, Ending, FINISH};
use crate::error::JobError;
use crate::lease::Lease;
use crate::pause;
use crate::store::entity::{job, lease as lease_row};
use crate::store::{Change, Status, Store};

/// Why a job shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its owner or an operator wants no more of it. The sections that are finished are delivered, and paid.
    Unwanted,
    /// All the money of its order went back: nothing is delivered.
    Refunded,
}

/// Asks for the end of a job: at once if it waits and nothing is to be delivered, else at a worker's next look. A job
/// that is done, or whose document is being handed over, stays as it is; asking again changes nothing.
///
/// # Errors
/// There is no such job, or the database is gone.
pub async fn cancel(store: &Store, job_id: &str, why: Why) -> Result<job::Model, JobError> {
    let mut change = store.change_unleased(job_id).await?;
    let job = change.job().await?.ok_or(JobError::NotFound)?;
    if job.status().is_final() || job.step == FINISH {
        return Ok(job);
    }
    let delivers = why == Why::Unwanted && job.sections_done > 0;
    if job.status() != Status::Running && !delivers {
        end_waiting(store, &mut change, &job).await?;
    } else if !note(&mut change, &job, why).await? {
        return Ok(job);
    }
    store.world.reach("job.cancel.before_commit");
    change.call();
    change.commit().await?;
    store.world.reach("job.cancel.committed");
    store.job(job_id).await?.ok_or(JobError::NotFound)
}

/// Ends a job that no worker has. An attempt that was given up and does not know it is shut out by the epoch.
async fn end_waiting(store: &Store, change: &mut Change, job: &job::Model) -> Result<(), JobError> {
    let held = lease_row::Entity::find_by_id(&job.id).one(&change.tx).await?.ok_or(JobError::NotFound)?;
    let lease = Lease::new(&job.id, held.epoch + 1, store.boot_id.clone());
    lease_row::Entity::update_many()
        .col_expr(lease_row::Column::Epoch, Expr::value(lease.epoch))
        .filter(lease_row::Column::JobId.eq(&job.id))
        .exec(&change.tx)
        .await?;
    Ok(ending::write(change, job, &lease, Ending::Cancelled { pages: 0 }).await?)
}

/// Leaves a note for the worker that has the job or takes it next. False if it is there already.
async fn note(change: &mut Change, job: &job::Model, why: Why) -> Result<bool, JobError> {
    let now = now(&change.tx).await?.unix_micros();
    let mut news = false;
    if job.cancel_requested_at.is_none() {
        news = true;
        change.set(job::Column::CancelRequestedAt, now);
        // Whatever the job waits for, its end does not; and what went wrong so far was another step.
        change.set(job::Column::RunAt, 0);
        change.step_done();
        pause::forget(change);
        if job.status() == Status::Paused {
            change.set(job::Column::Status, Status::Queued.name());
        }
    }
    if why == Why::Refunded && job.refunded_at.is_none() {
        news = true;
        change.set(job::Column::RefundedAt, now);
    }
    Ok(news)
}
