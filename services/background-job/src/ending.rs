//! How a job ends: its last event, its final state and the messages to others, all in one transaction.

use quire_proto::payment::v1::JobOutcome;
use sea_orm::DbErr;
use serde_json::json;

use crate::chunks;
use crate::error::Stop;
use crate::events::Kind;
use crate::lease::{self, Lease};
use crate::money::ledger;
use crate::outbox;
use crate::pause;
use crate::store::entity::job;
use crate::store::{Change, Purpose, Status, Store};

/// The step that a job is in once its document is delivered or about to be: it can no longer be cancelled.
pub const FINISH: &str = "finish";

/// The three ways.
#[derive(Debug, Clone)]
pub enum Ending {
    Completed {
        pages: i32,
    },
    Failed {
        reason: &'static str,
        sentence: String,
    },
    /// With the pages of the part that was delivered, at most those that were paid; 0 for none.
    Cancelled {
        pages: i32,
    },
}

/// How a job ends that cannot go on. One that somebody wanted to end is cancelled: nobody waits for it any more.
pub fn given_up(job: &job::Model, reason: &'static str, sentence: String) -> Ending {
    match job.cancel_requested_at {
        Some(_) => Ending::Cancelled { pages: 0 },
        None => Ending::Failed { reason, sentence },
    }
}

/// Ends a job under its lease.
///
/// # Errors
/// [`Stop::LeaseLost`], or the database is gone.
pub async fn end(store: &Store, lease: &Lease, ending: Ending) -> Result<(), Stop> {
    let mut change = store.change(lease).await?;
    let job = change.job().await?.ok_or(Stop::LeaseLost)?;
    tracing::info!(job_id = job.id, ?ending, "job ended");
    let points = match ending {
        Ending::Completed { .. } => Some(("job.finish.before_commit", "job.finish.committed")),
        Ending::Cancelled { .. } => Some(("job.cancel.before_end", "job.cancel.ended")),
        Ending::Failed { .. } => None,
    };
    write(&mut change, &job, lease, ending).await?;
    if let Some((before, _)) = points {
        store.world.reach(before);
    }
    change.commit().await?;
    if let Some((_, after)) = points {
        store.world.reach(after);
    }
    Ok(())
}

/// Writes an ending into an open change.
pub async fn write(
    change: &mut Change,
    job: &job::Model,
    lease: &Lease,
    ending: Ending,
) -> Result<(), DbErr> {
    let (status, outcome, delivered_pages) = match &ending {
        Ending::Completed { pages } => (Status::Completed, JobOutcome::Delivered, *pages),
        Ending::Failed { .. } => (Status::Failed, JobOutcome::Failed, 0),
        Ending::Cancelled { pages } => (Status::Cancelled, JobOutcome::Cancelled, *pages),
    };
    change.set(job::Column::Status, status.name());
    change.set(job::Column::FinishedAt, change.at.unix_micros());
    pause::forget(change);
    // The user's slot is free.
    change.call();
    if let Some(order_id) = &job.order_id {
        let outcome = outcome.as_str_name().to_owned();
        let settle =
            outbox::Settle { order_id: order_id.clone(), outcome, delivered_pages: Some(delivered_pages) };
        change.post(outbox::SETTLE, settle.payload()).await?;
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
            report(change, job, lease, sentence).await?;
        }
        // The document service has been told already.
        Ending::Cancelled { pages: 1.. } => {
            change.set(job::Column::PartPages, delivered_pages);
            change.event(Kind::Cancelled, json!({ "pages": delivered_pages }));
        }
        Ending::Cancelled { .. } => {
            change.event(Kind::Cancelled, json!({}));
            report(change, job, lease, String::new()).await?;
        }
    }
    // Whatever an attempt left that was lost: nobody goes on from it.
    ledger::book_rest(change, &job.id).await?;
    chunks::drop_all(change, &job.id).await?;
    lease::release(&change.tx, &job.id).await
}

/// Tells the document service that a job delivers nothing; the failure is empty when it was cancelled. A job that only
/// plans never had the document.
async fn report(change: &mut Change, job: &job::Model, lease: &Lease, failure: String) -> Result<(), DbErr> {
    match job.purpose() {
        Purpose::Document => {
            let report = outbox::Report { document_id: job.document_id.clone(), epoch: lease.epoch, failure };
            change.post(outbox::REPORT, report.payload()).await
        }
        Purpose::Outline => Ok(()),
    }
}
