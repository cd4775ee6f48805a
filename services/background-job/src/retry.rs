//! Trying a step again later: how often, and after how long.

use std::time::Duration;

use quire_clock::{Timestamp, World};
use quire_database::now;
use quire_fault::{Fault, Kind as FaultKind};
use serde_json::json;
use tonic::Status as RpcStatus;

use crate::ending::{self, FINISH};
use crate::error::Stop;
use crate::events::Kind;
use crate::lease::Lease;
use crate::pause;
use crate::store::entity::job;
use crate::store::{Change, Store};

/// A step is tried this often when its failures count; then its job fails.
pub const MAX_TRIES: i32 = 8;
/// A step whose failures do not count is tried for this long; then its job fails.
const LONGEST_STALL: Duration = Duration::from_secs(24 * 3600);
/// No counted retry waits longer, unless the other side asks for it.
const LONGEST: Duration = Duration::from_secs(120);
/// The same for those that do not count: whatever was away is found soon after it is back.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// However long the other side asks to wait, the job looks again after this.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// What ends the retries of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// [`MAX_TRIES`].
    Tries,
    /// [`LONGEST_STALL`].
    Time,
}

/// Puts the job back into the queue until the step may be tried again, or ends it when its bound is reached.
/// A job at its last step has none: the customer may have the document already, and then must not get the money.
///
/// # Errors
/// [`Stop::LeaseLost`], or the database is gone.
pub async fn postpone(
    store: &Store,
    lease: &Lease,
    base: Duration,
    reason: &str,
    after: Option<Duration>,
    bound: Bound,
) -> Result<(), Stop> {
    let mut change = store.change(lease).await?;
    let job = change.job().await?.ok_or(Stop::LeaseLost)?;
    let now = now(&change.tx).await?;
    let since = job.stalled_since.unwrap_or(now.unix_micros());
    let stalled = Duration::from_micros(u64::try_from(now.unix_micros() - since).unwrap_or_default());
    let over = match bound {
        _ if job.step == FINISH => None,
        Bound::Tries if job.step_retries + 1 >= MAX_TRIES => {
            let sentence = format!("the step {} did not succeed in {MAX_TRIES} tries: {reason}", job.step);
            Some(ending::given_up(&job, "retries_exhausted", sentence))
        }
        Bound::Time if stalled >= LONGEST_STALL => {
            let hours = LONGEST_STALL.as_secs() / 3600;
            let sentence = format!("the step {} did not succeed within {hours} hours: {reason}", job.step);
            Some(ending::given_up(&job, "unavailable", sentence))
        }
        Bound::Tries | Bound::Time => None,
    };
    if let Some(ending) = over {
        tracing::warn!(job_id = job.id, reason, "job given up after its last retry");
        ending::write(&mut change, &job, lease, ending).await?;
        return Ok(change.commit().await?);
    }
    let (retries, longest) = match bound {
        Bound::Tries => (job.step_retries, LONGEST),
        Bound::Time if job.step == FINISH => (job.stalls, LONGEST),
        Bound::Time => (job.stalls, LONGEST_WAIT),
    };
    match bound {
        Bound::Tries => change.set(job::Column::StepRetries, job.step_retries.saturating_add(1)),
        Bound::Time => {
            change.set(job::Column::Stalls, job.stalls.saturating_add(1));
            change.set(job::Column::StalledSince, since);
        }
    }
    let tries = job.step_retries.saturating_add(job.stalls).saturating_add(1);
    let delay = backoff(&store.world, base, retries, longest, after);
    tracing::info!(
        job_id = job.id,
        step = job.step,
        reason,
        tries,
        ?delay,
        ?bound,
        "step will be tried again"
    );
    enqueue(&mut change, &job, now, delay, tries, reason);
    lease.release(&change.tx).await?;
    Ok(change.commit().await?)
}

/// Ends a job that no retry can help; but not at its last step, as [`postpone`].
///
/// # Errors
/// As [`postpone`].
pub async fn refuse(
    store: &Store,
    lease: &Lease,
    base: Duration,
    reason: &'static str,
    sentence: String,
) -> Result<(), Stop> {
    let job = store.job(&lease.job_id).await?.ok_or(Stop::LeaseLost)?;
    if job.step == FINISH {
        tracing::error!(job_id = job.id, reason, sentence, "a document that is ready cannot be handed over");
        return postpone(store, lease, base, &sentence, None, Bound::Time).await;
    }
    ending::end(store, lease, ending::given_up(&job, reason, sentence)).await
}

/// Writes into an open change that the job waits for its next try, or rests if that was wanted. The caller releases the
/// lease.
pub fn enqueue(
    change: &mut Change,
    job: &job::Model,
    now: Timestamp,
    delay: Duration,
    tries: i32,
    reason: &str,
) {
    change.set(job::Column::RunAt, now.plus(delay).unix_micros());
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    change.event(
        Kind::Retrying,
        json!({ "step": job.step, "retry": tries, "delay_ms": delay_ms, "reason": reason }),
    );
    pause::lay_down(change, job);
}

/// The time to the next try of what has been retried so often: [`backoff`] up to two minutes.
pub fn delay(world: &World, base: Duration, retries: i32, asked: Option<Duration>) -> Duration {
    backoff(world, base, retries, LONGEST, asked)
}

/// Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015): a random time below
/// `base` doubled for each retry so far; never earlier than the other side asked.
fn backoff(
    world: &World,
    base: Duration,
    retries: i32,
    longest: Duration,
    asked: Option<Duration>,
) -> Duration {
    let ceiling = base.saturating_mul(1 << retries.clamp(0, 20)).min(longest);
    let share = f64::from(u32::from_be_bytes(world.bytes())) / f64::from(u32::MAX);
    ceiling.mul_f64(share) + asked.unwrap_or_default().min(LONGEST_ASKED)
}

/// Whether the same call may succeed later.
pub fn may_pass(kind: FaultKind) -> bool {
    // An internal error or a broken credential is the installation's fault, not the document's: an operator may mend it
    // meanwhile.
    kind.retryable()
        || matches!(kind, FaultKind::Internal | FaultKind::Cancelled | FaultKind::Unauthenticated)
}

/// What the refusal of another service means for the attempt.
pub fn classify(what: &str, status: &RpcStatus) -> Stop {
    let fault = Fault::from(status);
    if may_pass(fault.kind) {
        Stop::Wait { reason: format!("{what}: {}", fault.message), after: fault.retry_after }
    } else {
        tracing::warn!(what, reason = fault.reason, message = fault.message, "a service refused for good");
        Stop::failed("refused", fault.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_up_to_its_limit_and_never_undercuts_what_was_asked() {
        let world = World::system();
        let base = Duration::from_secs(1);
        for retries in 0..30 {
            let limit = base.saturating_mul(1 << retries.clamp(0, 20)).min(LONGEST);
            assert!(delay(&world, base, retries, None) <= limit);
            let asked = Duration::from_secs(30);
            assert!(delay(&world, base, retries, Some(asked)) >= asked);
        }
    }

    #[test]
    fn only_what_may_mend_itself_is_waited_for() {
        for status in [
            RpcStatus::unavailable(""),
            RpcStatus::deadline_exceeded(""),
            RpcStatus::internal(""),
            RpcStatus::cancelled(""),
            RpcStatus::unauthenticated(""),
        ] {
            assert!(matches!(classify("x", &status), Stop::Wait { .. }), "{status:?}");
        }
        for status in
            [RpcStatus::not_found(""), RpcStatus::failed_precondition(""), RpcStatus::permission_denied("")]
        {
            assert!(matches!(classify("x", &status), Stop::Failed { .. }), "{status:?}");
        }
    }
}
