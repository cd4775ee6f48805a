//! Messages that other services must get, kept until they have them: how an order ended, and how a document ended
//! that was not delivered.

use std::time::Duration;

use futures::future::join_all;
use quire_clock::Timestamp;
use quire_database::now;
use quire_fault::{Fault, Kind};
use quire_proto::document::v1::DocumentStatus;
use quire_proto::payment::v1::JobOutcome;
use sea_orm::sea_query::{Expr, LockBehavior, LockType};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::peers::{Documents, Payments, Taking};
use crate::retry;
use crate::store::Store;
use crate::store::entity::outbox;

/// Kind of the message to payment.
pub const SETTLE: &str = "settle";
/// Kind of the message to document.
pub const REPORT: &str = "report";

const BATCH: u64 = 16;
/// Longer than any delivery takes.
const LEASE: Duration = Duration::from_secs(60);
/// First backoff of a message.
const BASE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_secs(1);
/// A message that its receiver refuses for good is sent this often; then it is a dead letter.
const MAX_TRIES: i32 = 12;
/// Characters of a refusal that are kept.
const LONGEST_ERROR: usize = 500;

/// How a job ended that delivered nothing.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub document_id: String,
    pub epoch: i64,
    /// Empty: it was cancelled.
    pub failure: String,
}

impl Report {
    pub fn payload(&self) -> Value {
        serde_json::to_value(self).expect("plain fields")
    }
}

/// How the job of an order ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct Settle {
    pub order_id: String,
    /// The name of a [`JobOutcome`].
    pub outcome: String,
    /// Pages of the file that the customer got. `None`: stored before they were noted here.
    #[serde(default)]
    pub delivered_pages: Option<i32>,
}

impl Settle {
    pub fn payload(&self) -> Value {
        serde_json::to_value(self).expect("plain fields")
    }
}

/// Delivers what waits.
pub struct Relay {
    pub store: Store,
    pub documents: Documents,
    pub payments: Payments,
}

impl Relay {
    /// Runs until the shutdown.
    pub async fn run(&self, shutdown: CancellationToken) {
        let wake = self.store.wakes.outbox.clone();
        loop {
            let woken = wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let found = tokio::select! {
                found = self.pass() => found,
                () = shutdown.cancelled() => return,
            };
            match found {
                Ok(count) if count == BATCH as usize => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the outbox cannot be read"),
            }
            tokio::select! {
                () = &mut woken => {}
                () = tokio::time::sleep(POLL) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn pass(&self) -> Result<usize, DbErr> {
        let due = self.take().await?;
        let sent = join_all(due.iter().map(|row| self.deliver(row))).await;
        self.note(due.iter().zip(sent)).await?;
        Ok(due.len())
    }

    /// Leases the messages that are due.
    async fn take(&self) -> Result<Vec<outbox::Model>, DbErr> {
        let due = |now: Timestamp| {
            outbox::Entity::find()
                .filter(outbox::Column::DoneAt.is_null())
                .filter(outbox::Column::DeadAt.is_null())
                .filter(outbox::Column::NextAt.lte(now.unix_micros()))
                .filter(outbox::Column::LeasedUntil.lt(now.unix_micros()))
                .order_by_asc(outbox::Column::NextAt)
                .limit(BATCH)
        };
        // Looked up without a transaction first: an idle relay must not take SQLite's one write lock.
        let reader = self.store.database.reader();
        if due(now(reader).await?).one(reader).await?.is_none() {
            return Ok(Vec::new());
        }
        let tx = self.store.database.begin_write().await?;
        let now = now(&tx).await?;
        let due = due(now).lock_with_behavior(LockType::Update, LockBehavior::SkipLocked).all(&tx).await?;
        for row in &due {
            outbox::Entity::update_many()
                .col_expr(outbox::Column::LeasedUntil, Expr::value(now.plus(LEASE).unix_micros()))
                .col_expr(outbox::Column::Attempts, Expr::value(row.attempts + 1))
                .filter(outbox::Column::JobId.eq(&row.job_id))
                .filter(outbox::Column::Kind.eq(&row.kind))
                .exec(&tx)
                .await?;
        }
        tx.commit().await?;
        self.store.world.reach("job.outbox.claimed");
        Ok(due)
    }

    /// Sends a message. `Some`: it was not taken, and must be some day.
    #[tracing::instrument(skip_all, fields(job_id = row.job_id, kind = row.kind))]
    async fn deliver(&self, row: &outbox::Model) -> Option<Fault> {
        let delivered = match row.kind.as_str() {
            SETTLE => self.settle(row).await,
            REPORT => self.report(row).await,
            kind => Err(tonic::Status::internal(format!("messages of kind {kind} are not known"))),
        };
        let fault = Fault::from(&delivered.err()?);
        // The document was deleted, or has another job by now: nobody waits for this report.
        let refused = matches!(fault.kind, Kind::NotFound | Kind::Precondition | Kind::Conflict);
        let moot = row.kind == REPORT && refused;
        tracing::warn!(reason = fault.reason, message = fault.message, moot, "a message was not taken");
        (!moot).then_some(fault)
    }

    /// Stores what became of messages, all at once: each transaction costs a flush to the disk.
    async fn note(
        &self,
        sent: impl ExactSizeIterator<Item = (&outbox::Model, Option<Fault>)>,
    ) -> Result<(), DbErr> {
        if sent.len() == 0 {
            return Ok(());
        }
        let tx = self.store.database.begin_write().await?;
        let now = now(&tx).await?;
        let mut done = Vec::new();
        for (row, refusal) in sent {
            let update = outbox::Entity::update_many()
                .filter(outbox::Column::JobId.eq(&row.job_id))
                .filter(outbox::Column::Kind.eq(&row.kind))
                .col_expr(outbox::Column::LeasedUntil, Expr::value(0_i64));
            let update = match refusal {
                None => {
                    let settled = row.kind == SETTLE;
                    done.push(if settled { "job.outbox.settled" } else { "job.outbox.reported" });
                    update.col_expr(outbox::Column::DoneAt, Expr::value(now.unix_micros()))
                }
                Some(fault) => {
                    let said: String = fault.message.chars().take(LONGEST_ERROR).collect();
                    let update = update.col_expr(outbox::Column::LastError, Expr::value(said));
                    if !retry::may_pass(fault.kind) && row.attempts + 1 >= MAX_TRIES {
                        let (job_id, kind) = (&row.job_id, &row.kind);
                        tracing::error!(job_id, kind, "a message is given up: it is a dead letter");
                        update.col_expr(outbox::Column::DeadAt, Expr::value(now.unix_micros()))
                    } else {
                        let delay = retry::delay(&self.store.world, BASE, row.attempts, None);
                        update.col_expr(outbox::Column::NextAt, Expr::value(now.plus(delay).unix_micros()))
                    }
                }
            };
            update.exec(&tx).await?;
        }
        tx.commit().await?;
        for point in done {
            self.store.world.reach(point);
        }
        Ok(())
    }

    async fn settle(&self, row: &outbox::Model) -> Result<(), tonic::Status> {
        let settle: Settle = read(&row.payload)?;
        let outcome = JobOutcome::from_str_name(&settle.outcome);
        let outcome = outcome.ok_or_else(|| tonic::Status::internal("the stored outcome is unknown"))?;
        let pages = match settle.delivered_pages {
            Some(pages) => pages,
            None => self.counted_pages(&row.job_id, outcome).await?,
        };
        self.payments.settle(&settle.order_id, &row.job_id, outcome, pages).await?;
        self.store.world.reach("job.outbox.settle_sent");
        Ok(())
    }

    /// What a message that does not say it would have said: when those were stored, only whole documents were
    /// delivered.
    async fn counted_pages(&self, job_id: &str, outcome: JobOutcome) -> Result<i32, tonic::Status> {
        if outcome != JobOutcome::Delivered {
            return Ok(0);
        }
        let job = self.store.job(job_id).await;
        let job = job.map_err(|_| tonic::Status::unavailable("the job cannot be read"))?;
        job.map(|job| job.counted_pages).ok_or_else(|| tonic::Status::internal("the job is gone"))
    }

    async fn report(&self, row: &outbox::Model) -> Result<(), tonic::Status> {
        let report: Report = read(&row.payload)?;
        // The job may have ended before its first step, when the document did not know it yet. By now the document
        // may be another job's, delivered: that one's it stays.
        self.documents.attach(&report.document_id, &row.job_id, Taking::OnlyUnwritten).await?;
        let status = match report.failure.as_str() {
            "" => DocumentStatus::Cancelled,
            _ => DocumentStatus::Failed,
        };
        let fence = crate::peers::Fenced {
            document_id: &report.document_id,
            job_id: &row.job_id,
            epoch: report.epoch,
        };
        self.documents.report(fence, status, 0, &report.failure).await?;
        self.store.world.reach("job.outbox.report_sent");
        Ok(())
    }
}

fn read<T: serde::de::DeserializeOwned>(payload: &str) -> Result<T, tonic::Status> {
    serde_json::from_str(payload).map_err(|_| tonic::Status::internal("the stored message cannot be read"))
}

/// Ends the leases that a dead process left; as [`crate::lease::expire_others`].
pub async fn expire_leases(store: &Store) -> Result<(), DbErr> {
    let tx = store.database.begin_write().await?;
    outbox::Entity::update_many().col_expr(outbox::Column::LeasedUntil, Expr::value(0_i64)).exec(&tx).await?;
    tx.commit().await
}
