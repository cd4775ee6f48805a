//! Trying a step again later: how often, and after how long.

use std::time::Duration;

use quire_clock::World;
use quire_database::now;
use quire_fault::{Fault, Kind as FaultKind};
use serde_json::json;
use tonic::Status as RpcStatus;

use crate::ending::{self, Ending};
use crate::error::Stop;
use crate::events::Kind;
use crate::lease::Lease;
use crate::store::entity::job;
use crate::store::{Status, Store};

/// A step is tried this often; then its job fails.
pub const MAX_TRIES: i32 = 8;
/// No retry waits longer, unless the other side asks for it.
const LONGEST: Duration = Duration::from_secs(120);
/// However long the other side asks to wait, the job looks again after this.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// Puts the job back into the queue until the step may be tried again, or ends it when it was tried often enough.
///
/// # Errors
/// [`Stop::LeaseLost`], or the database is gone.
pub async fn postpone(
    store: &Store,
    lease: &Lease,
    base: Duration,
    reason: &str,
    after: Option<Duration>,
) -> Result<(), Stop> {
    let mut change = store.change(lease).await?;
    let job = change.job().await?.ok_or(Stop::LeaseLost)?;
    let tries = job.step_retries + 1;
    if tries >= MAX_TRIES {
        let sentence = format!("the step {} did not succeed in {MAX_TRIES} tries: {reason}", job.step);
        tracing::warn!(job_id = job.id, reason, "job failed after its last retry");
        ending::write(&mut change, &job, lease, Ending::Failed { reason: "retries_exhausted", sentence })
            .await?;
        return Ok(change.commit().await?);
    }
    let delay = delay(&store.world, base, job.step_retries, after);
    let run_at = now(&change.tx).await?.plus(delay);
    tracing::info!(job_id = job.id, step = job.step, reason, tries, ?delay, "step will be tried again");
    change.set(job::Column::Status, Status::Queued.name());
    change.set(job::Column::StepRetries, tries);
    change.set(job::Column::RunAt, run_at.unix_micros());
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    change.event(
        Kind::Retrying,
        json!({ "step": job.step, "retry": tries, "delay_ms": delay_ms, "reason": reason }),
    );
    lease.release(&change.tx).await?;
    Ok(change.commit().await?)
}

/// Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015): a random time below
/// `base` doubled for each retry so far; never earlier than the other side asked.
pub fn delay(world: &World, base: Duration, retries: i32, asked: Option<Duration>) -> Duration {
    let ceiling = base.saturating_mul(1 << retries.clamp(0, 20)).min(LONGEST);
    let share = f64::from(u32::from_be_bytes(world.bytes())) / f64::from(u32::MAX);
    ceiling.mul_f64(share) + asked.unwrap_or_default().min(LONGEST_ASKED)
}

/// What the refusal of another service means for the attempt.
pub fn classify(what: &str, status: &RpcStatus) -> Stop {
    let fault = Fault::from(status);
    // An internal error or a broken credential is the installation's fault, not the document's: an operator
    // may mend it while the job waits.
    let mendable =
        matches!(fault.kind, FaultKind::Internal | FaultKind::Cancelled | FaultKind::Unauthenticated);
    if fault.kind.retryable() || mendable {
        Stop::Retry { reason: format!("{what}: {}", fault.message), after: fault.retry_after }
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
    fn only_what_may_mend_itself_is_tried_again() {
        for status in [RpcStatus::unavailable(""), RpcStatus::deadline_exceeded(""), RpcStatus::internal("")]
        {
            assert!(matches!(classify("x", &status), Stop::Retry { .. }), "{status:?}");
        }
        for status in
            [RpcStatus::not_found(""), RpcStatus::failed_precondition(""), RpcStatus::permission_denied("")]
        {
            assert!(matches!(classify("x", &status), Stop::Failed { .. }), "{status:?}");
        }
    }
}
