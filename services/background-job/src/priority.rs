//! Which of a user's jobs goes first.

use quire_fault::Violation;

use crate::error::JobError;
use crate::store::Store;
use crate::store::entity::job;

/// Of jobs that no operator has looked at.
pub const DEFAULT: i32 = 5;
/// Of jobs that only plan: they are short, and their customer looks on.
pub const OUTLINE: i32 = 7;
const HIGHEST: i32 = 9;

/// Sets the priority of a job, from 0 to 9. It decides at the next claim; a job that runs goes on.
///
/// # Errors
/// There is no such job, the number is not from 0 to 9, or the database is gone.
pub async fn set(store: &Store, job_id: &str, priority: i32) -> Result<job::Model, JobError> {
    if let Some(violation) = Violation::range("priority", priority.into(), 0, HIGHEST.into()) {
        return Err(JobError::Invalid(vec![violation]));
    }
    let mut change = store.change_unleased(job_id).await?;
    change.set(job::Column::Priority, priority);
    change.commit().await?;
    store.job(job_id).await?.ok_or(JobError::NotFound)
}
