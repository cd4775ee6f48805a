//! Steps that another job of the document has done or begun: no model is asked twice.

use std::time::Duration;

use sea_orm::sea_query::Query;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter};

use crate::attempt::{Attempt, Desk};
use crate::cancel::{self, Why};
use crate::error::{JobError, Stop};
use crate::recorder::{DONE, DRAFTED, WRITTEN};
use crate::recordings::{self, Heard};
use crate::steps::plan;
use crate::store::entity::{job, step};
use crate::store::{Purpose, Status, Store};
use crate::writer::Draft;

/// So long a plan that is being made is waited for before the next look.
const PLANNING: Duration = Duration::from_secs(2);
/// From so many jobs, one after the other, the calls of one step are gathered.
const LONGEST_CHAIN: usize = 16;

impl step::Model {
    /// As another job's checkpoint. The document service has it from that job, if at all, and gets it again; and that job
    /// has paid for it.
    pub fn taken_over(self) -> Self {
        let status = if self.status == DONE { WRITTEN.to_owned() } else { self.status };
        let content = match &*status {
            DRAFTED => self.content.map(of_use),
            _ => self.content,
        };
        let taken_from = self.job_id.clone();
        Self {
            status,
            content,
            taken_from,
            epoch: 0,
            input_tokens: 0,
            output_tokens: 0,
            done_at: None,
            ..self
        }
    }
}

/// A draft without the answers that its job failed with: they would fail the next one, too.
fn of_use(content: String) -> String {
    let draft = serde_json::from_str(&content).map(Draft::of_use);
    draft.map_or(content, |draft| serde_json::to_string(&draft).expect("texts and numbers"))
}

/// The plan that was made from the same input before the order, whole or in parts; from now on it is this job's.
///
/// # Errors
/// [`Stop::Wait`] while it is being made; the lease is lost or the database gone.
pub async fn plan(attempt: &Attempt<'_>, desk: &Desk) -> Result<Option<step::Model>, Stop> {
    let is_whole = |step: &step::Model| step.status != DRAFTED;
    let mut found = newest_plan(attempt, desk).await?;
    if !found.as_ref().is_some_and(is_whole) && attempt.job.purpose() == Purpose::Document {
        end_planning(attempt).await?;
        found = newest_plan(attempt, desk).await?;
    }
    let Some(found) = found else { return Ok(None) };
    let mut taken = found.taken_over();
    taken.job_id.clone_from(&attempt.job.id);
    taken.epoch = attempt.lease.epoch;
    let change = attempt.store().change(attempt.lease).await?;
    change.checkpoint(taken.clone()).await?;
    change.commit().await?;
    attempt.reach("job.step.plan.taken");
    Ok(Some(taken))
}

/// A whole one before one in parts, and then the newest: the ids of these jobs grow with time.
async fn newest_plan(attempt: &Attempt<'_>, desk: &Desk) -> Result<Option<step::Model>, DbErr> {
    let outlines = Query::select()
        .column(job::Column::Id)
        .from(job::Entity)
        .and_where(job::Column::DocumentId.eq(&attempt.job.document_id))
        .and_where(job::Column::Purpose.eq(Purpose::Outline.name()))
        .and_where(job::Column::Id.ne(&attempt.job.id))
        .to_owned();
    let plans = step::Entity::find()
        .filter(step::Column::JobId.in_subquery(outlines))
        .filter(step::Column::Status.is_in([DONE, WRITTEN, DRAFTED]))
        .filter(step::Column::StepKey.eq(plan::KEY))
        .filter(step::Column::InputHash.eq(&desk.input_hash))
        .filter(step::Column::Content.is_not_null())
        .all(attempt.store().database.reader())
        .await?;
    Ok(plans.into_iter().max_by_key(|step| (step.status != DRAFTED, step.job_id.clone())))
}

/// The order's job plans from now on: one that only plans and waits is ended, and one at work is waited for.
async fn end_planning(attempt: &Attempt<'_>) -> Result<(), Stop> {
    let store = attempt.store();
    let open = job::Entity::find()
        .filter(job::Column::DocumentId.eq(&attempt.job.document_id))
        .filter(job::Column::Purpose.eq(Purpose::Outline.name()))
        .filter(job::Column::FinishedAt.is_null())
        .all(store.database.reader())
        .await?;
    for job in open {
        if job.status() == Status::Running {
            let reason = "the outline is being planned".to_owned();
            return Err(Stop::Wait { reason, after: Some(PLANNING) });
        }
        match cancel::cancel(store, &job.id, Why::Unwanted).await {
            Ok(_) => {}
            Err(JobError::Database(error)) => return Err(error.into()),
            Err(error) => return Err(Stop::retry(error.to_string())),
        }
    }
    Ok(())
}

/// The recorded calls of a step in their order, those of the jobs first from which it was taken over.
///
/// # Errors
/// The database is gone.
pub async fn calls(store: &Store, job_id: &str, step_key: &str) -> Result<Vec<(String, Heard)>, DbErr> {
    let mut calls = Vec::new();
    let mut next = Some(job_id.to_owned());
    for _ in 0..LONGEST_CHAIN {
        let Some(job_id) = next else { break };
        let own = recordings::of_step(store, &job_id, step_key).await?;
        calls.splice(0..0, own);
        let step = store.step(&job_id, step_key).await?;
        next = step.map(|step| step.taken_from).filter(|from| !from.is_empty());
    }
    Ok(calls)
}
