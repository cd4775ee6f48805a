//! Going on with a job that failed, on an operator's account.
//!
//! It is a new job without an order: the failed one has ended, its order is refunded, and the document service takes
//! nothing more from it. What it finished is taken over and only sent to the document service again; no model is asked
//! twice.

use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter};
use serde_json::json;

use crate::error::JobError;
use crate::events::Kind;
use crate::query::{self, Caller};
use crate::recorder::{DONE, DRAFTED, WRITTEN};
use crate::start::{self, NewJob};
use crate::store::entity::{job, step};
use crate::store::{Change, Status, Store};

/// Starts the job that goes on, unless an operator's job of the document is open: then that one is the answer.
///
/// # Errors
/// There is no such job, it has not failed, or the database is gone.
pub async fn retry(store: &Store, job_id: &str) -> Result<job::Model, JobError> {
    let failed = query::get(store, &Caller::Operator, job_id).await?;
    if failed.status() != Status::Failed {
        return Err(JobError::NotFailed);
    }
    let new = NewJob {
        order_id: None,
        document_id: failed.document_id.clone(),
        user_id: failed.user_id.clone(),
        pages: failed.pages,
    };
    let (id, _) = start::start_from(store, new, Some(&failed)).await?;
    store.job(&id).await?.ok_or(JobError::NotFound)
}

/// Copies what a failed job has finished into the change that starts the one that goes on.
///
/// # Errors
/// The database is gone.
pub async fn take_over(change: &mut Change, failed: &job::Model) -> Result<(), DbErr> {
    let steps = step::Entity::find()
        .filter(step::Column::JobId.eq(&failed.id))
        .filter(step::Column::Status.is_in([DONE, WRITTEN, DRAFTED]))
        .all(&change.tx)
        .await?;
    let mut sections = 0;
    for step in steps {
        let section = step.step_key.starts_with("section:");
        if !section && !["plan", "review"].contains(&step.step_key.as_str()) {
            continue;
        }
        // The document service has it from another job: it is sent again.
        let status = if step.status == DONE { WRITTEN.to_owned() } else { step.status };
        sections += i32::from(section && status == WRITTEN);
        // The job that failed has paid for it.
        let taken =
            step::Model { status, epoch: 0, input_tokens: 0, output_tokens: 0, done_at: None, ..step };
        change.checkpoint(taken).await?;
    }
    change.event(Kind::Requeued, json!({ "from": failed.id, "sections": sections }));
    Ok(())
}
