//! Resting until the customer has approved the outline, and then writing what they made of it.
//!
//! The document service shows the proposal and takes the changes. The approval is stored here, as this step's
//! checkpoint, in one transaction with the job going on.

use std::collections::HashMap;

use quire_proto::document::v1 as doc;
use sea_orm::{DbErr, EntityTrait};
use serde_json::json;

use super::PLANNED;
use super::plan::outline;
use crate::attempt::{Attempt, Desk};
use crate::error::Stop;
use crate::events::Kind;
use crate::recorder::{DONE, WRITTEN};
use crate::retry::classify;
use crate::store::Change;
use crate::store::entity::{job, step};
use crate::writer::{Plan, PlannedChapter, PlannedSection};

pub const KEY: &str = "review";
/// Status of the checkpoint when the outline is approved, and nothing is made of it yet.
const APPROVED: &str = "approved";
/// Why a job rests that waits for the approval, as it is stored.
pub const REASON: &str = "outline_review";

/// The plan that is written: what was planned, or what the customer made of it.
///
/// # Errors
/// [`Stop::Review`] while it is not approved; as [`Attempt::run`].
pub async fn run(attempt: &Attempt<'_>, desk: &Desk, plan: Plan) -> Result<Plan, Stop> {
    if !desk.review_outline {
        return Ok(plan);
    }
    attempt.checkpoint()?;
    let kept = attempt.store().step(&attempt.job.id, KEY).await?.ok_or(Stop::Review)?;
    match (kept.status.as_str(), &kept.content) {
        (DONE, Some(content)) => read(content),
        // Another job has taken it: the document service gets it again.
        (WRITTEN, Some(content)) => {
            let plan = read(content)?;
            store(attempt, &plan, 0).await?;
            Ok(plan)
        }
        _ => {
            let taken = attempt.documents().take_outline(attempt.fence()).await;
            let taken = taken.map_err(|status| classify("document.TakeOutline", &status))?;
            attempt.reach("job.step.review.taken");
            let asked: usize = taken.chapters.iter().map(|chapter| chapter.sections.len()).sum();
            let revised = desk.pen.revise(&plan, chapters(&plan, taken)).await?;
            let left_out = asked.saturating_sub(revised.sections().count());
            store(attempt, &revised, left_out).await?;
            Ok(revised)
        }
    }
}

/// The plan that the customer has approved, if it is stored.
///
/// # Errors
/// It cannot be read.
pub async fn stored(attempt: &Attempt<'_>) -> Result<Option<Plan>, Stop> {
    let kept = attempt.store().step(&attempt.job.id, KEY).await?;
    kept.and_then(|step| step.content).map(|content| read(&content)).transpose()
}

/// Whether the outline of the change's job is approved, now or before.
pub async fn is_approved(change: &Change, job_id: &str) -> Result<bool, DbErr> {
    let step = step::Entity::find_by_id((job_id.to_owned(), KEY.to_owned())).one(&change.tx).await?;
    Ok(step.is_some())
}

/// Notes in a change that it is.
pub async fn note_approval(change: &Change, job_id: &str) -> Result<(), DbErr> {
    let step = step::Model {
        job_id: job_id.to_owned(),
        step_key: KEY.to_owned(),
        status: APPROVED.to_owned(),
        ..step::Model::default()
    };
    change.checkpoint(step).await
}

/// Hands the outline that is written to the document service, and closes the step.
async fn store(attempt: &Attempt<'_>, plan: &Plan, left_out: usize) -> Result<(), Stop> {
    let sent = attempt.documents().put_outline(attempt.fence(), outline(plan)).await;
    sent.map_err(|status| classify("document.PutOutline", &status))?;
    attempt.reach("job.step.review.sent");
    let mut change = attempt.store().change(attempt.lease).await?;
    let mut step = attempt.step(KEY, "");
    step.status = DONE.to_owned();
    step.done_at = Some(change.at.unix_micros());
    step.content = Some(serde_json::to_string(plan).expect("plain data"));
    change.checkpoint(step).await?;
    let (chapters, sections) = (plan.chapters.len(), plan.sections().count());
    change.set(job::Column::SectionsTotal, i32::try_from(sections).unwrap_or(i32::MAX));
    change.step_done();
    let percent = attempt.job.percent.max(PLANNED);
    change.event(
        Kind::OutlineApproved,
        json!({ "chapters": chapters, "sections": sections, "left_out": left_out, "percent": percent }),
    );
    change.commit().await?;
    attempt.reach("job.step.review.stored");
    Ok(())
}

/// What the document service has, in the plan's words.
fn chapters(plan: &Plan, taken: doc::Outline) -> Vec<PlannedChapter> {
    let abouts: HashMap<&str, &str> =
        plan.chapters.iter().map(|chapter| (chapter.title.as_str(), chapter.about.as_str())).collect();
    let untitled: HashMap<&str, &str> = plan
        .sections()
        .filter(|(_, section)| section.title.is_none())
        .map(|(chapter, section)| (section.key.as_str(), chapter.title.as_str()))
        .collect();
    let chapter = |chapter: doc::OutlineChapter| PlannedChapter {
        about: abouts.get(chapter.title.as_str()).copied().unwrap_or_default().to_owned(),
        title: chapter.title,
        sections: chapter
            .sections
            .into_iter()
            .map(|section| PlannedSection {
                // It was shown under its chapter's title.
                title: (untitled.get(section.key.as_str()) != Some(&section.title.as_str()))
                    .then_some(section.title),
                key: section.key,
                brief: section.brief,
                words: section.words,
            })
            .collect(),
    };
    taken.chapters.into_iter().map(chapter).collect()
}

fn read(content: &str) -> Result<Plan, Stop> {
    serde_json::from_str(content).map_err(|_| Stop::failed("poison", "the stored plan cannot be read"))
}
