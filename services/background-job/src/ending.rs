//! How a job ends: its last event, its final state and the messages to others, all in one transaction.

use std::sync::Arc;

use quire_database::now;
use quire_proto::payment::v1::JobOutcome;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter};
use serde_json::json;

use crate::error::{JobError, Stop};
use crate::events::Kind;
use crate::lease::{self, Lease};
use crate::outbox;
use crate::store::entity::{job, lease as lease_row};
use crate::store::{Change, Status, Store};

/// The step that a job is in once its document is delivered or about to be: it can no longer be cancelled.
pub const FINISH: &str = "finish";

/// The three ways.
#[derive(Debug, Clone)]
pub enum Ending {
    Completed { pages: i32 },
    Failed { reason: &'static str, sentence: String },
    Cancelled,
}

/// Ends a job under its lease.
///
/// # Errors
/// [`Stop::LeaseLost`], or the database is gone.
pub async fn end(store: &Store, lease: &Lease, ending: Ending) -> Result<(), Stop> {
    let mut change = store.change(lease).await?;
    let job = change.job().await?.ok_or(Stop::LeaseLost)?;
    tracing::info!(job_id = job.id, ?ending, "job ended");
    write(&mut change, &job, lease, ending).await?;
    Ok(change.commit().await?)
}

/// Writes an ending into an open change.
pub async fn write(
    change: &mut Change,
    job: &job::Model,
    lease: &Lease,
    ending: Ending,
) -> Result<(), DbErr> {
    let (status, outcome) = match &ending {
        Ending::Completed { .. } => (Status::Completed, JobOutcome::Delivered),
        Ending::Failed { .. } => (Status::Failed, JobOutcome::Failed),
        Ending::Cancelled => (Status::Cancelled, JobOutcome::Cancelled),
    };
    change.set(job::Column::Status, status.name());
    change.set(job::Column::FinishedAt, change.at.unix_micros());
    if let Some(order_id) = &job.order_id {
        change
            .post(outbox::SETTLE, json!({ "order_id": order_id, "outcome": outcome.as_str_name() }))
            .await?;
    }
    match ending {
        Ending::Completed { pages } => {
            change.set(job::Column::CountedPages, pages);
            change.set(job::Column::Percent, 100);
            change.event(Kind::Completed, json!({ "pages": pages, "percent": 100 }));
        }
        Ending::Failed { reason, sentence } => {
            change.set(job::Column::Failure, sentence.as_str());
            change.event(Kind::Failed, json!({ "reason": reason, "message": sentence }));
            let report = outbox::Report {
                document_id: job.document_id.clone(),
                epoch: lease.epoch,
                failure: sentence,
            };
            change.post(outbox::REPORT, report.payload()).await?;
        }
        Ending::Cancelled => {
            change.event(Kind::Cancelled, json!({}));
            let failure = String::new();
            let report = outbox::Report { document_id: job.document_id.clone(), epoch: lease.epoch, failure };
            change.post(outbox::REPORT, report.payload()).await?;
        }
    }
    lease::release(&change.tx, &job.id).await
}

/// Asks for the end of a job: at once if it waits, at its worker's next look if it runs. A job that is done, or
/// whose document is being handed over, stays as it is.
///
/// # Errors
/// The database is gone.
pub async fn cancel(store: &Store, job_id: &str) -> Result<job::Model, JobError> {
    let mut change = store.change_unleased(job_id).await?;
    let job = change.job().await?.ok_or(JobError::NotFound)?;
    if job.status().is_final() || job.step == FINISH {
        return Ok(job);
    }
    match job.status() {
        Status::Queued => {
            let held =
                lease_row::Entity::find_by_id(job_id).one(&change.tx).await?.ok_or(JobError::NotFound)?;
            let lease =
                Lease { job_id: job_id.to_owned(), epoch: held.epoch + 1, boot_id: store.boot_id.clone() };
            lease_row::Entity::update_many()
                .col_expr(lease_row::Column::Epoch, Expr::value(lease.epoch))
                .filter(lease_row::Column::JobId.eq(job_id))
                .exec(&change.tx)
                .await?;
            write(&mut change, &job, &lease, Ending::Cancelled).await?;
        }
        _ if job.cancel_requested_at.is_none() => {
            let now = now(&change.tx).await?;
            change.set(job::Column::CancelRequestedAt, now.unix_micros());
        }
        _ => return Ok(job),
    }
    change.commit().await?;
    // An error means that nothing runs here; a worker elsewhere sees it at its next renewal.
    let _ = store.wakes.cancels.send(Arc::from(job_id));
    store.job(job_id).await?.ok_or(JobError::NotFound)
}
