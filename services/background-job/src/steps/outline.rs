//! All that a job does which only plans: the plan, shown to the customer.

use super::plan;
use crate::attempt::Attempt;
use crate::ending::{self, Ending};
use crate::error::Stop;

/// # Errors
/// As [`Attempt::run`].
pub async fn run(attempt: &Attempt<'_>) -> Result<(), Stop> {
    let desk = attempt.desk().await?;
    plan::run(attempt, &desk).await?;
    ending::end(attempt.store(), attempt.lease, Ending::Completed { pages: 0 }).await
}
