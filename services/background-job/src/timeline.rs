//! What happened to a job, for an operator who wonders.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::error::JobError;
use crate::events::Kind;
use crate::query::{self, Caller};
use crate::store::Store;
use crate::store::entity::{cost, event, job, step};

/// A job with its steps and events.
#[derive(Debug)]
pub struct Timeline {
    pub job: job::Model,
    /// Without their text, which is the document's.
    pub events: Vec<event::Model>,
    /// In the order in which they were done; those that are not, last.
    pub steps: Vec<step::Model>,
    /// In the order in which they were made.
    pub calls: Vec<cost::Model>,
}

/// # Errors
/// There is no such job, or the database is gone.
pub async fn of(store: &Store, job_id: &str) -> Result<Timeline, JobError> {
    let job = query::get(store, &Caller::Operator, job_id).await?;
    let reader = store.database.reader();
    let events = event::Entity::find()
        .filter(event::Column::JobId.eq(job_id))
        .filter(event::Column::Kind.ne(Kind::Text.name()))
        .order_by_asc(event::Column::Seq)
        .all(reader)
        .await?;
    let mut steps = step::Entity::find().filter(step::Column::JobId.eq(job_id)).all(reader).await?;
    steps.sort_by_key(|step| (step.done_at.unwrap_or(i64::MAX), step.step_key.clone()));
    let calls = cost::Entity::find()
        .filter(cost::Column::JobId.eq(job_id))
        .order_by_asc(cost::Column::StartedAt)
        .order_by_asc(cost::Column::Id)
        .all(reader)
        .await?;
    Ok(Timeline { job, events, steps, calls })
}
