//! The first step: chapters and sections.

use quire_proto::document::v1 as doc;
use serde_json::json;

use super::{PLANNED, fallback};
use crate::attempt::{Attempt, Desk};
use crate::error::Stop;
use crate::events::Kind;
use crate::recorder::{DONE, DRAFTED, Recorder, WRITTEN};
use crate::retry::classify;
use crate::store::Purpose;
use crate::store::entity::job;
use crate::taken;
use crate::writer::{Draft, Plan};

pub const KEY: &str = "plan";

/// The plan, made now or before.
///
/// # Errors
/// As [`Attempt::run`].
pub async fn run(attempt: &Attempt<'_>, desk: &Desk) -> Result<Plan, Stop> {
    loop {
        attempt.checkpoint()?;
        if let Some(plan) = once(attempt, desk).await? {
            return Ok(plan);
        }
    }
}

/// `None`: its writer gave up, and another one stands in.
async fn once(attempt: &Attempt<'_>, desk: &Desk) -> Result<Option<Plan>, Stop> {
    let kept = match attempt.kept(KEY, &desk.input_hash).await? {
        Some(kept) => Some(kept),
        None => taken::plan(attempt, desk).await?,
    };
    let mut step = attempt.step(KEY, &desk.input_hash);
    let mut draft = Draft::default();
    if let Some(kept) = kept {
        let content = kept.content.as_deref().unwrap_or_default();
        step.input_tokens = kept.input_tokens;
        step.output_tokens = kept.output_tokens;
        step.taken_from.clone_from(&kept.taken_from);
        if desk.knows(&kept.fallback) {
            (step.fallback, step.refused_at) = (kept.fallback.clone(), kept.refused_at);
        }
        match kept.status.as_str() {
            DONE => return read(content).map(Some),
            WRITTEN => {
                let plan: Plan = read(content)?;
                step.content = kept.content;
                store(attempt, desk, step, &plan).await?;
                return Ok(Some(plan));
            }
            DRAFTED if desk.knows(&kept.fallback) => draft = read(content)?,
            _ => {}
        }
    }
    let mut change = attempt.store().change(attempt.lease).await?;
    change.set(job::Column::Step, KEY);
    change.commit().await?;
    let other = attempt.fallback_pen(desk, &step).await?;
    let pen = other.as_ref().unwrap_or(&desk.pen);
    let mut recorder = Recorder::new(attempt, step, None, 0);
    let plan = recorder.listen(|sink| async move { Ok(pen.plan(draft, &sink).await) }).await?;
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => return fallback::after(attempt, desk, recorder.step, error).await.map(|()| None),
    };
    if plan.sections().next().is_none() {
        return Err(Stop::failed("empty_plan", "the writer found nothing to write about"));
    }
    let mut step = recorder.step;
    step.status = WRITTEN.to_owned();
    step.content = Some(serde_json::to_string(&plan).expect("plain data"));
    step.input_tokens = step.input_tokens.max(plan.usage.input_tokens);
    step.output_tokens = step.output_tokens.max(plan.usage.output_tokens);
    let change = attempt.store().change(attempt.lease).await?;
    change.checkpoint(step.clone()).await?;
    change.commit().await?;
    attempt.reach("job.step.plan.written");
    store(attempt, desk, step, &plan).await?;
    Ok(Some(plan))
}

/// The plan that the document service has, whatever it was made from; `None` before there is one.
///
/// # Errors
/// It cannot be read.
pub async fn stored(attempt: &Attempt<'_>) -> Result<Option<Plan>, Stop> {
    let kept = attempt.store().step(&attempt.job.id, KEY).await?;
    let done = kept.filter(|step| step.status == DONE);
    done.map(|step| read(step.content.as_deref().unwrap_or_default())).transpose()
}

/// Hands the outline to the document service, and closes the step.
async fn store(
    attempt: &Attempt<'_>,
    desk: &Desk,
    mut step: crate::store::entity::step::Model,
    plan: &Plan,
) -> Result<(), Stop> {
    let documents = attempt.documents();
    let sent = match (attempt.job.purpose(), desk.review_outline) {
        (Purpose::Outline, _) => {
            documents.preview_outline(&attempt.job.document_id, &desk.revision, outline(plan)).await
        }
        (Purpose::Document, true) => documents.propose_outline(attempt.fence(), outline(plan)).await,
        (Purpose::Document, false) => documents.put_outline(attempt.fence(), outline(plan)).await,
    };
    sent.map_err(|status| classify("document.PutOutline", &status))?;
    attempt.reach("job.step.plan.sent");
    let sections = plan.sections().count();
    let mut change = attempt.store().change(attempt.lease).await?;
    step.status = DONE.to_owned();
    step.done_at = Some(change.at.unix_micros());
    change.checkpoint(step).await?;
    change.set(job::Column::SectionsTotal, i32::try_from(sections).unwrap_or(i32::MAX));
    change.set(job::Column::Percent, attempt.job.percent.max(PLANNED));
    change.step_done();
    let chapters = plan.chapters.len();
    change.event(Kind::Planned, json!({ "chapters": chapters, "sections": sections, "percent": PLANNED }));
    change.commit().await?;
    attempt.reach("job.step.plan.stored");
    Ok(())
}

/// What the document service is told of a plan.
pub fn outline(plan: &Plan) -> doc::Outline {
    let chapters = plan.chapters.iter().map(|chapter| doc::OutlineChapter {
        title: chapter.title.clone(),
        sections: chapter
            .sections
            .iter()
            .map(|section| doc::OutlineSection {
                key: section.key.clone(),
                title: section.title.clone().unwrap_or_else(|| chapter.title.clone()),
                written: false,
                brief: section.brief.clone(),
                words: section.words,
            })
            .collect(),
    });
    doc::Outline { chapters: chapters.collect() }
}

fn read<T: serde::de::DeserializeOwned>(content: &str) -> Result<T, Stop> {
    serde_json::from_str(content).map_err(|_| Stop::failed("poison", "the stored plan cannot be read"))
}
