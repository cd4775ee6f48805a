//! The lease of an attempt: who may write for a job, and for how long.
//!
//! The database's time decides when a lease has run out, so that skewed clocks change nothing. Two guards work
//! together: the epoch fences every write in the database, and the holder stops by itself, by its own
//! monotonic clock, before the lease can run out, so that a lost attempt spends no more money.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quire_database::now;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Stop;
use crate::events::woken;
use crate::store::Store;
use crate::store::entity::{job, lease};

/// Renewals happen after this share of the lease.
const RENEW_SHARE: f64 = 0.27;
/// Without a good renewal for this share of the lease, the holder stops by itself.
const ABORT_SHARE: f64 = 0.73;
/// How long before the next try after a renewal that the database did not answer.
const RENEW_AGAIN: Duration = Duration::from_millis(200);

/// One attempt's right to write.
#[derive(Debug, Clone)]
pub struct Lease {
    pub job_id: String,
    pub epoch: i64,
    pub boot_id: Arc<str>,
    /// Its holder's writes, one after the other in the order in which they are asked for: several sections that are
    /// written at once must not fill the pool with connections that wait for the same row.
    pub turn: Arc<Mutex<()>>,
}

impl Lease {
    pub fn new(job_id: &str, epoch: i64, boot_id: Arc<str>) -> Self {
        Self { job_id: job_id.to_owned(), epoch, boot_id, turn: Arc::default() }
    }

    /// Takes the lease row for the rest of the transaction.
    ///
    /// # Errors
    /// [`Stop::LeaseLost`] when another attempt has the job.
    pub async fn hold(&self, tx: &DatabaseTransaction) -> Result<(), Stop> {
        let held = lease::Entity::update_many()
            .col_expr(lease::Column::Epoch, Expr::value(self.epoch))
            .filter(lease::Column::JobId.eq(&self.job_id))
            .filter(lease::Column::Epoch.eq(self.epoch))
            .filter(lease::Column::BootId.eq(&*self.boot_id))
            .exec(tx)
            .await?;
        if held.rows_affected == 1 { Ok(()) } else { Err(Stop::LeaseLost) }
    }

    /// Gives the job up inside the transaction that decided so. The epoch stays.
    pub async fn release(&self, tx: &DatabaseTransaction) -> Result<(), DbErr> {
        release(tx, &self.job_id).await
    }
}

/// Leaves the job without a holder; the transaction must hold its lease row.
pub async fn release(tx: &DatabaseTransaction, job_id: &str) -> Result<(), DbErr> {
    lease::Entity::update_many()
        .col_expr(lease::Column::BootId, Expr::value(""))
        .col_expr(lease::Column::ExpiresAt, Expr::value(0_i64))
        .filter(lease::Column::JobId.eq(job_id))
        .exec(tx)
        .await?;
    Ok(())
}

/// What a holder is told by the task that keeps its lease.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// Stop at once and write nothing.
    pub lost: CancellationToken,
    /// The customer or an operator wants the job to end.
    pub cancelled: CancellationToken,
    /// The job shall rest; looked at by every checkpoint, since it may be taken back.
    pub paused: Arc<AtomicBool>,
}

/// What is wanted of a job while it runs.
struct Wanted {
    cancel: bool,
    pause: bool,
}

/// Renews a lease until it is lost or the future is dropped. Runs apart from the work, so that a slow step
/// loses nothing. Must be polled.
pub async fn keep(store: &Store, lease: &Lease, length: Duration, signals: &Signals) {
    let mut good_until = Instant::now() + length.mul_f64(ABORT_SHARE);
    let mut pause = length.mul_f64(RENEW_SHARE);
    let mut calls = store.wakes.holders.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = woken(&mut calls, &lease.job_id) => {}
            () = tokio::time::sleep_until(good_until) => break,
        }
        // The lease counts from some moment after this one, so this side is never the later one.
        let asked_at = Instant::now();
        match tokio::time::timeout_at(good_until, renew(store, lease, length)).await {
            Ok(Ok(Some(wanted))) => {
                good_until = asked_at + length.mul_f64(ABORT_SHARE);
                pause = length.mul_f64(RENEW_SHARE);
                signals.paused.store(wanted.pause, Ordering::Relaxed);
                if wanted.cancel {
                    signals.cancelled.cancel();
                }
            }
            Ok(Ok(None)) => break,
            Ok(Err(error)) => {
                tracing::warn!(job_id = lease.job_id, %error, "the lease could not be renewed; trying again");
                pause = RENEW_AGAIN.min(length.mul_f64(RENEW_SHARE));
            }
            Err(_) => break,
        }
    }
    tracing::warn!(job_id = lease.job_id, epoch = lease.epoch, "the lease is lost");
    signals.lost.cancel();
}

/// Extends the lease from the database's present time. `None`: it belongs to another attempt, or may at any moment: it
/// has run out, and the user's place with it.
async fn renew(store: &Store, lease: &Lease, length: Duration) -> Result<Option<Wanted>, DbErr> {
    let tx = store.database.begin_write().await?;
    let now = now(&tx).await?;
    let expires_at = now.plus(length);
    let renewed = lease::Entity::update_many()
        .col_expr(lease::Column::ExpiresAt, Expr::value(expires_at.unix_micros()))
        .filter(lease::Column::JobId.eq(&lease.job_id))
        .filter(lease::Column::Epoch.eq(lease.epoch))
        .filter(lease::Column::BootId.eq(&*lease.boot_id))
        .filter(lease::Column::ExpiresAt.gte(now.unix_micros()))
        .exec(&tx)
        .await?;
    if renewed.rows_affected == 0 {
        return Ok(None);
    }
    let job = job::Entity::find_by_id(&lease.job_id).one(&tx).await?;
    tx.commit().await?;
    let wanted = |at: fn(&job::Model) -> Option<i64>| job.as_ref().and_then(at).is_some();
    Ok(Some(Wanted {
        cancel: wanted(|job| job.cancel_requested_at),
        pause: wanted(|job| job.pause_requested_at),
    }))
}

/// Ends every lease of other starts of the process: only for the one process that holds the data folder's
/// lock, whose predecessors are dead for sure.
pub async fn expire_others(store: &Store) -> Result<u64, DbErr> {
    let tx = store.database.begin_write().await?;
    let ended = lease::Entity::update_many()
        .col_expr(lease::Column::ExpiresAt, Expr::value(0_i64))
        .filter(lease::Column::BootId.ne(&*store.boot_id))
        .filter(lease::Column::BootId.ne(""))
        .exec(&tx)
        .await?;
    tx.commit().await?;
    Ok(ended.rows_affected)
}
