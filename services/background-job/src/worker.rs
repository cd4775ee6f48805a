//! Takes jobs, several at the same time, and sees each through.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::pin;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use sea_orm::DbErr;
use tokio::task::{JoinError, JoinSet};
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

/// Without a wake-up, work is looked for this often.
const POLL: Duration = Duration::from_millis(500);
/// When all that a look has found was taken by others: they are done with it soon, and may have left something.
const MISSED: Duration = Duration::from_millis(20);
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

/// Takes jobs and sees them through, so many at the same time, until the shutdown; then comes to an end with those that are
/// under way.
///
/// # Panics
/// A job's task broke down by itself.
pub async fn run(tools: Tools, pace: Pace, concurrency: usize, shutdown: CancellationToken) {
    let wake = tools.store.wakes.queue.clone();
    let free = (1..=concurrency).rev().map(|number| format!("{}/{number}", tools.store.boot_id)).collect();
    let mut hands = Hands { tools, pace, free, busy: JoinSet::new() };
    while !shutdown.is_cancelled() {
        // Registered before looking, so that a job that comes between the two is not slept over.
        let woken = wake.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        // All of them, so that one look serves them all.
        while let Some(done) = hands.busy.try_join_next() {
            hands.done(done);
        }
        let pause = hands.take(&shutdown).await;
        let idle = !hands.free.is_empty();
        tokio::select! {
            () = &mut woken, if idle => {}
            () = tokio::time::sleep(pause), if idle => {}
            Some(done) = hands.busy.join_next() => hands.done(done),
            () = shutdown.cancelled() => {}
        }
    }
    while let Some(done) = hands.busy.join_next().await {
        hands.done(done);
    }
}

/// The jobs that are at work here, and the names of those who have none.
struct Hands {
    tools: Tools,
    pace: Pace,
    free: Vec<String>,
    /// Each gives its name back.
    busy: JoinSet<String>,
}

impl Hands {
    /// Begins as many jobs as there are hands for. Gives how long there is nothing more to do, unless somebody calls.
    async fn take(&mut self, shutdown: &CancellationToken) -> Duration {
        if self.free.is_empty() {
            return POLL;
        }
        let asked = Instant::now();
        let turns = match queue::look(&self.tools.store, self.pace.limits, self.free.len()).await {
            Ok(turns) => turns,
            Err(error) => return self.failed(&error, asked),
        };
        if turns.is_empty() {
            self.tools.metrics.looked("nothing", asked.elapsed());
            return POLL;
        }
        // Each turn is another user's, so that no claim waits for another one's rows, and PostgreSQL writes them to the disk
        // together. SQLite has one writer anyway.
        let at_once = if self.tools.store.database.is_postgres() { turns.len() } else { 1 };
        let names = self.free.split_off(self.free.len().saturating_sub(turns.len()));
        let (store, pace) = (self.tools.store.clone(), self.pace.clone());
        let claims = turns.into_iter().zip(names).map(|(turn, name)| {
            let (store, pace) = (&store, &pace);
            async move {
                // They may have waited for one another.
                let stopped = shutdown.is_cancelled();
                let claim =
                    if stopped { Ok(Claim::Missed) } else { queue::claim(store, &name, pace, &turn).await };
                (name, claim)
            }
        });
        let mut claims = pin!(stream::iter(claims).buffer_unordered(at_once));
        let (mut pause, mut broken) = (MISSED, None);
        // A job begins as soon as it is claimed: its lease counts already.
        while let Some((name, claim)) = claims.next().await {
            let outcome = match claim {
                Ok(Claim::Taken { job, lease, taken_over }) => {
                    self.tools.metrics.claimed(taken_over);
                    self.begin(name, *job, lease, shutdown.clone());
                    pause = Duration::ZERO;
                    "taken"
                }
                Ok(Claim::PutAway) => {
                    self.free.push(name);
                    pause = Duration::ZERO;
                    "put_away"
                }
                Ok(Claim::Missed) => {
                    self.free.push(name);
                    "missed"
                }
                Err(error) => {
                    self.free.push(name);
                    broken = Some(self.failed(&error, asked));
                    continue;
                }
            };
            self.tools.metrics.looked(outcome, asked.elapsed());
        }
        broken.unwrap_or(pause)
    }

    fn failed(&self, error: &DbErr, asked: Instant) -> Duration {
        tracing::warn!(%error, "the queue cannot be read");
        self.tools.metrics.looked("failed", asked.elapsed());
        POLL
    }

    fn begin(&mut self, name: String, job: job::Model, lease: Lease, shutdown: CancellationToken) {
        let (tools, pace) = (self.tools.clone(), self.pace.clone());
        self.busy.spawn(async move {
            work(&tools, &pace, &job, &lease, &shutdown).await;
            name
        });
    }

    fn done(&mut self, done: Result<String, JoinError>) {
        match done {
            Ok(name) => self.free.push(name),
            // Nobody aborts them.
            Err(error) => resume_unwind(error.into_panic()),
        }
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
