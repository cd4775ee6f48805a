//! Taking the next job: waiting ones whose time has come, and running ones whose attempt is gone.

use quire_database::now;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, ExprTrait, QueryFilter};
use serde_json::json;

use crate::ending::{self, FINISH};
use crate::error::Stop;
use crate::events::Kind;
use crate::fair;
use crate::lease::Lease;
use crate::pause;
use crate::retry;
use crate::store::entity::{job, lease};
use crate::store::{Change, Status, Store};
use crate::worker::Pace;

/// A step at which this many attempts ended without a word is not tried again.
const MAX_CRASHES: i32 = 3;

/// What a look at the queue gave.
pub enum Claim {
    /// The job is ours.
    Taken {
        job: Box<job::Model>,
        lease: Lease,
        /// The attempt before ended without a word.
        taken_over: bool,
    },
    /// Somebody else was faster, or a poisoned job was ended: look again.
    Again,
    Nothing,
}

/// Takes the next job, in one short transaction.
///
/// # Errors
/// The database is gone or busy.
pub async fn claim(store: &Store, worker: &str, pace: &Pace) -> Result<Claim, DbErr> {
    // Looked up without a transaction first: an idle worker must not take SQLite's one write lock.
    let reader = store.database.reader();
    if fair::next_user(reader, now(reader).await?, pace.limits, false).await?.is_none() {
        return Ok(Claim::Nothing);
    }
    let at = store.world.now();
    let tx = store.database.begin_write().await?;
    let now = now(&tx).await?;
    fair::lock_all(&tx, pace.limits).await?;
    let Some(user_id) = fair::next_user(&tx, now, pace.limits, true).await? else {
        return Ok(Claim::Nothing);
    };
    // Counted again: on PostgreSQL the user's row may be newer than the snapshot that chose it.
    let Some(job_id) = fair::next_job(&tx, now, pace.limits, &user_id).await? else {
        return Ok(Claim::Nothing);
    };
    // The lease row may be newer than the snapshot, too.
    let held = lease::Entity::find_by_id(&job_id).one(&tx).await?;
    let job = job::Entity::find_by_id(&job_id).one(&tx).await?;
    let (Some(held), Some(mut job)) = (held, job) else {
        return Ok(Claim::Again);
    };
    let taken_over = match job.status() {
        Status::Queued if job.run_at <= now.unix_micros() => false,
        Status::Running if held.expires_at < now.unix_micros() => true,
        _ => return Ok(Claim::Again),
    };
    fair::served(&tx, now, &user_id).await?;
    let lease = Lease { job_id: job_id.clone(), epoch: held.epoch + 1, boot_id: store.boot_id.clone() };
    lease::Entity::update_many()
        .col_expr(lease::Column::Epoch, Expr::value(lease.epoch))
        .col_expr(lease::Column::BootId, Expr::value(&*lease.boot_id))
        .col_expr(lease::Column::Worker, Expr::value(worker))
        .col_expr(lease::Column::ExpiresAt, Expr::value(now.plus(pace.lease).unix_micros()))
        .filter(lease::Column::JobId.eq(&job_id))
        .exec(&tx)
        .await?;

    let mut change = Change::new(store, tx, &job_id, at);
    if taken_over {
        job.crash_count += 1;
        change.set(job::Column::CrashCount, job.crash_count);
        if job.crash_count >= MAX_CRASHES && job.step == FINISH {
            // The customer may have the document already: it is tried for ever, but no longer at once.
            tracing::error!(job_id, crashes = job.crash_count, "the handing over of a document breaks off");
            let delay = retry::delay(&store.world, pace.retry_base, job.crash_count, None);
            retry::enqueue(&mut change, &job, now, delay, job.crash_count, "the work broke off");
            lease.release(&change.tx).await?;
            change.commit().await?;
            return Ok(Claim::Again);
        }
        if job.crash_count >= MAX_CRASHES {
            let sentence = "the work broke off three times at the same step".to_owned();
            let ending = ending::given_up(&job, "poison", sentence);
            ending::write(&mut change, &job, &lease, ending).await?;
            change.commit().await?;
            return Ok(Claim::Again);
        }
        if job.pause_requested_at.is_some() && job.step != FINISH {
            pause::lay_down(&mut change, &job);
            lease.release(&change.tx).await?;
            change.commit().await?;
            return Ok(Claim::Again);
        }
    }
    job.attempt += 1;
    job.status = Status::Running.name().to_owned();
    change.set(job::Column::Attempt, job.attempt);
    change.set(job::Column::Status, Status::Running.name());
    change.event(Kind::Started, json!({ "attempt": job.attempt, "percent": job.percent }));
    store.world.reach("job.queue.before_commit");
    change.commit().await?;
    store.world.reach("job.queue.claimed");
    // Whoever skipped the user's row while it was held here looks again.
    store.wakes.queue.notify_waiters();
    Ok(Claim::Taken { job: Box::new(job), lease, taken_over })
}

/// Puts a job back into the queue as it is, or to rest if that was wanted: no attempt of a step is spent.
pub async fn give_back(store: &Store, lease: &Lease) -> Result<(), Stop> {
    let mut change = store.change(lease).await?;
    let job = change.job().await?.ok_or(Stop::LeaseLost)?;
    lease.release(&change.tx).await?;
    pause::lay_down(&mut change, &job);
    // The claim that comes next counts again; this one was not the job's fault.
    change.set(job::Column::Attempt, Expr::col(job::Column::Attempt).sub(1));
    change.call();
    Ok(change.commit().await?)
}
