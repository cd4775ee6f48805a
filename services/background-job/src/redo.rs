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
use crate::start::{self, Begun, NewJob};
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
        purpose: failed.purpose(),
        order_id: None,
        document_id: failed.document_id.clone(),
        user_id: failed.user_id.clone(),
        pages: failed.pages,
    };
    let id = match start::begin(store, new).await? {
        Begun::New(mut change) => {
            take_over(&mut change, &failed).await?;
            store.world.reach("job.retry.taken_over");
            let id = start::commit(store, *change).await?;
            store.world.reach("job.retry.committed");
            id
        }
        Begun::Known(id) => id,
    };
    store.job(&id).await?.ok_or(JobError::NotFound)
}

/// Copies what a failed job has finished into the change that starts the one that goes on.
///
/// # Errors
/// The database is gone.
async fn take_over(change: &mut Change, failed: &job::Model) -> Result<(), DbErr> {
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
        let taken = step.taken_over();
        sections += i32::from(section && taken.status == WRITTEN);
        change.checkpoint(taken).await?;
    }
    change.event(Kind::Requeued, json!({ "from": failed.id, "sections": sections }));
    Ok(())
}
