//! Jobs whose own budget is used up: they pause, and go on once it may have been raised.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use crate::error::{JobError, Stop};
use crate::lease::Lease;
use crate::pause;
use crate::query::Caller;
use crate::queue;
use crate::store::entity::job;
use crate::store::{Status, Store};

/// Why such a job is paused, as it is stored.
pub const REASON: &str = "budget_exhausted";

/// Lays a job to rest until its budget may have been raised; one that shall end goes back to the queue.
///
/// # Errors
/// [`Stop::LeaseLost`], or the database is gone.
pub async fn pause(store: &Store, lease: &Lease) -> Result<(), Stop> {
    queue::give_back_with(store, lease, |change, job| {
        if job.pause_requested_at.is_none() && job.cancel_requested_at.is_none() {
            job.pause_requested_at = Some(change.at.unix_micros());
            REASON.clone_into(&mut job.pause_reason);
            change.set(job::Column::PauseReason, REASON);
        }
    })
    .await
}

/// Lets every such job go on: for the start of the process, which is when budgets change. One that still has too
/// little pauses again before it spends anything. Returns how many there were.
///
/// # Errors
/// The database is gone.
pub async fn resume_all(store: &Store) -> Result<usize, JobError> {
    let ids: Vec<String> = job::Entity::find()
        .select_only()
        .column(job::Column::Id)
        .filter(job::Column::Status.eq(Status::Paused.name()))
        .filter(job::Column::PauseReason.eq(REASON))
        .into_tuple()
        .all(store.database.reader())
        .await?;
    for id in &ids {
        pause::resume(store, &Caller::Operator, id).await?;
    }
    Ok(ids.len())
}
