//! When the writer of a step cannot write it: the next one that the order allows does, if there is one.
//!
//! A writer that refuses the text itself is replaced at once; one that is away, busy or shut, when it has been so for
//! as long as the installation has patience, counted from its first refusal at this step. Text that it began is
//! dropped, so that no section is of two hands; its money stays booked. The next step begins with the writer that was
//! ordered.

use std::time::Duration;

use quire_database::now;
use sea_orm::sea_query::Expr;
use serde_json::json;

use crate::attempt::{Attempt, Desk};
use crate::chunks;
use crate::error::Stop;
use crate::events::Kind;
use crate::recorder::RUNNING;
use crate::retry::MAX_TRIES;
use crate::store::entity::{job, step};
use crate::writer::WriteError;

/// Why somebody else writes, as it is shown.
const REFUSED: &str = "refused";
const UNAVAILABLE: &str = "unavailable";
const RETRIES_EXHAUSTED: &str = "retries_exhausted";

/// Decides what a writer's error at a step leads to: `Ok` if another writer stands in from now on.
///
/// # Errors
/// What ends the attempt, as the job waits for its writer or nobody may stand in.
pub async fn after(
    attempt: &Attempt<'_>,
    desk: &Desk,
    mut step: step::Model,
    error: WriteError,
) -> Result<(), Stop> {
    let Some(next) = desk.next_writer(&step.fallback) else { return Err(error.into()) };
    match &error {
        // Another writer would need money, too, or find the same damage.
        WriteError::Budget(_) | WriteError::Ended | WriteError::Failed { reason: "poison", .. } => {
            return Err(error.into());
        }
        WriteError::Failed { .. } | WriteError::Retry { .. } | WriteError::Wait { .. } => {}
    }
    let mut change = attempt.store().change(attempt.lease).await?;
    let job = change.job().await?.ok_or(Stop::LeaseLost)?;
    let now = now(&change.tx).await?.unix_micros();
    let since = *step.refused_at.get_or_insert(now);
    let refusing = Duration::from_micros(u64::try_from(now - since).unwrap_or_default());
    let left = attempt.tools.fallback_after.saturating_sub(refusing);
    let reason = match &error {
        WriteError::Failed { .. } => REFUSED,
        WriteError::Retry { .. } if job.step_retries + 1 >= MAX_TRIES => RETRIES_EXHAUSTED,
        _ if left.is_zero() => UNAVAILABLE,
        _ => {
            change.checkpoint(step).await?;
            change.commit().await?;
            return Err(looking_again_within(left, error.into()));
        }
    };
    let from = desk.writer_at(&step.fallback);
    tracing::warn!(
        job_id = job.id,
        step = step.step_key,
        from,
        to = next,
        reason,
        "another writer stands in"
    );
    change.event(
        Kind::Fallback,
        json!({
            "step": step.step_key,
            "from": from,
            "to": next,
            "reason": reason,
            "message": error.to_string(),
        }),
    );
    chunks::drop_of(&change, &job.id, &step.step_key).await?;
    step.status = RUNNING.to_owned();
    (step.content, step.refused_at) = (None, None);
    (step.input_tokens, step.output_tokens) = (0, 0);
    next.clone_into(&mut step.fallback);
    change.checkpoint(step).await?;
    // What the writer before failed at does not count against this one.
    change.set(job::Column::StepRetries, 0);
    change.set(job::Column::Stalls, 0);
    change.set(job::Column::StalledSince, Expr::value(None::<i64>));
    change.commit().await?;
    attempt.reach("job.step.fallback.stored");
    Ok(())
}

/// However long the provider wants to be left alone, somebody else may stand in after `left`.
fn looking_again_within(left: Duration, stop: Stop) -> Stop {
    match stop {
        Stop::Wait { reason, after } => Stop::Wait { reason, after: after.map(|after| after.min(left)) },
        Stop::Retry { reason, after } => Stop::Retry { reason, after: after.map(|after| after.min(left)) },
        stop => stop,
    }
}
