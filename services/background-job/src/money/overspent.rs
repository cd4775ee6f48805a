//! Jobs whose own budget is used up: they pause, and go on once it may have been raised.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use crate::error::JobError;
use crate::pause;
use crate::query::Caller;
use crate::store::entity::job;
use crate::store::{Status, Store};

/// Why such a job is paused, as it is stored.
pub const REASON: &str = "budget_exhausted";

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
