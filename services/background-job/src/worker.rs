//! Workers: each takes one job at a time and sees it through.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use sea_orm::DbErr;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::attempt::{Attempt, Tools};
use crate::ending::{self, Ending};
use crate::error::Stop;
use crate::fair::Limits;
use crate::lease::{self, Lease, Signals};
use crate::money::budget::Exhausted;
use crate::money::overspent;
use crate::queue::{self, Claim};
use crate::retry::{self, Bound};
use crate::steps::{self, review};
use crate::store::entity::job;

/// Without a wake-up, a worker looks for work this often.
const POLL: Duration = Duration::from_millis(500);
/// When a budget of the day is used up: a new day may begin, or other jobs may have needed less than was reserved.
const NEXT_LOOK_AT_BUDGET: Duration = Duration::from_secs(300);

/// How a worker works.
#[derive(Debug, Clone)]
pub struct Pace {
    pub lease: Duration,
    /// After the shutdown a job has this long to come to a checkpoint.
    pub drain: Duration,
    /// First backoff of a step.
    pub retry_base: Duration,
    pub limits: Limits,
}

/// Takes and does jobs until the shutdown.
pub async fn run(name: String, tools: Tools, pace: Pace, shutdown: CancellationToken) {
    let wake = tools.store.wakes.queue.clone();
    while !shutdown.is_cancelled() {
        // Registered before looking, so that a job that comes between the two is not slept over.
        let woken = wake.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let asked = Instant::now();
        let claim = queue::claim(&tools.store, &name, &pace).await;
        tools.metrics.looked(outcome(&claim), asked.elapsed());
        match claim {
            Ok(Claim::Taken { job, lease, taken_over }) => {
                tools.metrics.claimed(taken_over);
                work(&tools, &pace, &job, &lease, &shutdown).await;
                continue;
            }
            Ok(Claim::Again) => continue,
            Ok(Claim::Nothing) => {}
            Err(error) => tracing::warn!(%error, "the queue cannot be read"),
        }
        tokio::select! {
            () = &mut woken => {}
            () = tokio::time::sleep(POLL) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

fn outcome(claim: &Result<Claim, DbErr>) -> &'static str {
    match claim {
        Ok(Claim::Taken { .. }) => "taken",
        Ok(Claim::Again) => "again",
        Ok(Claim::Nothing) => "nothing",
        Err(_) => "failed",
    }
}

#[tracing::instrument(name = "attempt", skip_all, fields(job_id = job.id, attempt = job.attempt, epoch = lease.epoch))]
async fn work(tools: &Tools, pace: &Pace, job: &job::Model, lease: &Lease, shutdown: &CancellationToken) {
    let signals = Signals::default();
    let keeper = {
        let (store, lease, signals, length) =
            (tools.store.clone(), lease.clone(), signals.clone(), pace.lease);
        AbortOnDropHandle::new(tokio::spawn(
            async move { lease::keep(&store, &lease, length, &signals).await },
        ))
    };
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(pace.drain).await;
    };
    let attempt = Attempt { tools, lease, job, drain: shutdown, paused: &signals.paused };
    let work = async {
        let done = tokio::select! {
            biased;
            () = signals.cancelled.cancelled() => Err(Stop::Cancelled),
            done = attempt.run() => done,
        };
        match done {
            Err(Stop::Cancelled) => steps::part::run(&attempt).await,
            done => done,
        }
    };
    let outcome = tokio::select! {
        biased;
        () = signals.lost.cancelled() => Ok(Err(Stop::LeaseLost)),
        () = drained => Ok(Err(Stop::GivenBack)),
        outcome = AssertUnwindSafe(work).catch_unwind() => outcome,
    };
    let closed = match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(stop)) => close(tools, pace, lease, stop, shutdown).await,
        Err(_) => {
            tracing::error!("the attempt panicked");
            abandon(tools, lease).await
        }
    };
    match closed {
        Ok(()) => {}
        Err(Stop::LeaseLost) => tracing::warn!("another attempt has the job"),
        // The lease runs out, and the job is taken over.
        Err(error) => tracing::error!(%error, "the end of the attempt cannot be stored"),
    }
    drop(keeper);
}

/// Stores why an attempt ended early.
async fn close(
    tools: &Tools,
    pace: &Pace,
    lease: &Lease,
    stop: Stop,
    shutdown: &CancellationToken,
) -> Result<(), Stop> {
    match stop {
        Stop::LeaseLost => Err(Stop::LeaseLost),
        // Of what was finished by then, nothing is delivered.
        Stop::Cancelled => ending::end(&tools.store, lease, Ending::Cancelled { pages: 0 }).await,
        Stop::GivenBack | Stop::Paused => queue::give_back(&tools.store, lease).await,
        Stop::Budget(Exhausted::Job) => queue::lay_to_rest(&tools.store, lease, overspent::REASON).await,
        Stop::Review => queue::lay_to_rest(&tools.store, lease, review::REASON).await,
        // While everything shuts down, the other services do too: that is no fault of the step.
        Stop::Retry { .. } | Stop::Wait { .. } | Stop::Budget(_) | Stop::Database(_)
            if shutdown.is_cancelled() =>
        {
            queue::give_back(&tools.store, lease).await
        }
        Stop::Retry { reason, after } => {
            retry::postpone(&tools.store, lease, pace.retry_base, &reason, after, Bound::Tries).await
        }
        Stop::Wait { reason, after } => {
            retry::postpone(&tools.store, lease, pace.retry_base, &reason, after, Bound::Time).await
        }
        Stop::Budget(exhausted) => {
            let reason = format!("budget_exhausted: {}", exhausted.sentence());
            let after = Some(NEXT_LOOK_AT_BUDGET);
            retry::postpone(&tools.store, lease, pace.retry_base, &reason, after, Bound::Time).await
        }
        Stop::Failed { reason, sentence } => {
            retry::refuse(&tools.store, lease, pace.retry_base, reason, sentence).await
        }
        Stop::Database(error) => {
            tracing::warn!(%error, "the database refused during a step");
            let reason = "the database refused";
            retry::postpone(&tools.store, lease, pace.retry_base, reason, None, Bound::Time).await
        }
    }
}

/// Leaves the job running without a holder: the next claim takes it over and counts a crash.
async fn abandon(tools: &Tools, lease: &Lease) -> Result<(), Stop> {
    let change = tools.store.change(lease).await?;
    lease.release(&change.tx).await?;
    Ok(change.commit().await?)
}
