//! Approving the outline of a document: its job goes on with it as it stands.

use std::time::Duration;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use crate::error::JobError;
use crate::pause;
use crate::peers::Documents;
use crate::query::{self, Caller};
use crate::recorder::{DONE, WRITTEN};
use crate::steps::{plan, review};
use crate::store::entity::{job, step};
use crate::store::{Status, Store};

/// Approves the outline that the job of a document has proposed. Approving it again changes nothing.
///
/// # Errors
/// There is no such document of the caller's, it was not ordered with a review, or it has no outline yet.
pub async fn of_document(
    store: &Store,
    documents: &Documents,
    caller: &Caller,
    document_id: &str,
) -> Result<job::Model, JobError> {
    let seen = query::brief(documents, caller, document_id).await?;
    let (document, _) = seen.ok_or(JobError::NotFound)?;
    if !document.review_outline {
        return Err(JobError::NotReviewed);
    }
    if document.job_id.is_empty() {
        return Err(JobError::NoOutline);
    }
    let job = query::get(store, caller, &document.job_id).await?;
    of_job(store, &job.id).await
}

/// The same for a job, which is known to wait for that or to come to it.
///
/// # Errors
/// There is no such job, or it has no outline yet.
pub async fn of_job(store: &Store, job_id: &str) -> Result<job::Model, JobError> {
    let mut change = store.change_unleased(job_id).await?;
    let job = change.job().await?.ok_or(JobError::NotFound)?;
    if job.status().is_final() || review::is_approved(&change, job_id).await? {
        return Ok(job);
    }
    let planned = step::Entity::find_by_id((job_id.to_owned(), plan::KEY.to_owned())).one(&change.tx).await?;
    if !planned.is_some_and(|step| [WRITTEN, DONE].contains(&step.status.as_str())) {
        return Err(JobError::NoOutline);
    }
    review::note_approval(&change, job_id).await?;
    if rests(&job) {
        pause::go_on(&mut change, &job);
    }
    store.world.reach("job.review.before_commit");
    change.call();
    change.commit().await?;
    store.world.reach("job.review.committed");
    store.job(job_id).await?.ok_or(JobError::NotFound)
}

/// Whether a job rests because its outline is not approved.
pub fn rests(job: &job::Model) -> bool {
    job.status() == Status::Paused && job.pause_reason == review::REASON
}

/// Approves what nobody has answered for so long: what is paid is delivered. Returns how many jobs go on.
///
/// # Errors
/// The database is gone.
pub async fn overdue(store: &Store, patience: Duration) -> Result<usize, JobError> {
    let ids: Vec<String> = job::Entity::find()
        .select_only()
        .column(job::Column::Id)
        .filter(job::Column::Status.eq(Status::Paused.name()))
        .filter(job::Column::PauseReason.eq(review::REASON))
        .filter(job::Column::PausedAt.lte(store.world.now().minus(patience).unix_micros()))
        .into_tuple()
        .all(store.database.reader())
        .await?;
    for id in &ids {
        of_job(store, id).await?;
    }
    Ok(ids.len())
}
