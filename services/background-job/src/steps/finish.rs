//! The last step: the document is handed over, then the job is done.

use quire_proto::document::v1::DocumentStatus;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::attempt::Attempt;
use crate::ending::{self, Ending, FINISH};
use crate::error::Stop;
use crate::retry::classify;
use crate::store::entity::job;

/// Delivers a document of that many pages.
///
/// # Errors
/// As [`Attempt::run`].
pub async fn run(attempt: &Attempt<'_>, pages: i32) -> Result<(), Stop> {
    attempt.checkpoint()?;
    // From here on the job cannot be cancelled: a customer never gets both the document and the money.
    decide(attempt, job::Column::CancelRequestedAt).await?;
    attempt.reach("job.finish.decided");
    // Before the job's own end, so that whoever sees it completed finds the files.
    let reported = attempt.documents().report(attempt.fence(), DocumentStatus::Completed, pages, "").await;
    reported.map_err(|status| classify("document.ReportJob", &status))?;
    attempt.reach("job.finish.reported");
    ending::end(attempt.store(), attempt.lease, Ending::Completed { pages }).await
}

/// Makes the handing over the job's last step, unless the time in `objection` is set: then nothing is handed over.
///
/// # Errors
/// [`Stop::Cancelled`] because of the objection; as [`Attempt::run`].
pub async fn decide(attempt: &Attempt<'_>, objection: job::Column) -> Result<(), Stop> {
    let change = attempt.store().change(attempt.lease).await?;
    let decided = job::Entity::update_many()
        .col_expr(job::Column::Step, Expr::value(FINISH))
        .filter(job::Column::Id.eq(&attempt.job.id))
        .filter(objection.is_null())
        .exec(&change.tx)
        .await?;
    change.commit().await?;
    if decided.rows_affected == 1 { Ok(()) } else { Err(Stop::Cancelled) }
}
