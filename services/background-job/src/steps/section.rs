//! One section: written, kept, and handed to the document service.

use std::sync::Arc;

use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use serde_json::json;

use super::{fallback, sections_percent};
use crate::attempt::{Attempt, Desk, input_hash};
use crate::chunks;
use crate::error::Stop;
use crate::events::Kind;
use crate::forecast::measure::forecast;
use crate::recorder::{DONE, DRAFTED, Recorder, WRITTEN};
use crate::retry::classify;
use crate::store::Change;
use crate::store::entity::{job, step};
use crate::writer::{Draft, Order, Plan, PlannedChapter, PlannedSection, Written};

const STEP: &str = "section";

/// One section's place in the plan.
pub struct Place<'a> {
    chapter: &'a PlannedChapter,
    section: &'a PlannedSection,
    /// Counted from 1.
    number: usize,
    total: usize,
    pub step_key: String,
    pub input_hash: String,
}

impl<'a> Place<'a> {
    /// `number` is counted from 1.
    pub fn new(
        plan_hash: &str,
        chapter: &'a PlannedChapter,
        section: &'a PlannedSection,
        (number, total): (usize, usize),
    ) -> Self {
        // Not of the text before it: a section is not stale because its neighbour was written again.
        let input_hash = input_hash(&(plan_hash, &section.key));
        Self { chapter, section, number, total, step_key: step_key(section), input_hash }
    }

    fn title(&self) -> &str {
        self.section.title.as_deref().unwrap_or(&self.chapter.title)
    }
}

/// The name of a section's step.
pub fn step_key(section: &PlannedSection) -> String {
    format!("{STEP}:{}", section.key)
}

/// Writes the section, as far as it is not done. `before` is what it is told of.
///
/// # Errors
/// As [`Attempt::run`].
pub async fn run(
    attempt: &Attempt<'_>,
    desk: &Desk,
    plan: &Plan,
    place: &Place<'_>,
    before: &[Arc<Written>],
) -> Result<Written, Stop> {
    loop {
        if let Some(written) = once(attempt, desk, plan, place, before).await? {
            return Ok(written);
        }
        attempt.checkpoint()?;
    }
}

/// `None`: its writer gave up, and another one stands in.
async fn once(
    attempt: &Attempt<'_>,
    desk: &Desk,
    plan: &Plan,
    place: &Place<'_>,
    before: &[Arc<Written>],
) -> Result<Option<Written>, Stop> {
    let kept = attempt.kept(&place.step_key, &place.input_hash).await?;
    let mut step = attempt.step(&place.step_key, &place.input_hash);
    let mut draft = Draft::default();
    let restart = kept.is_some();
    let mut stored = 0;
    if let Some(kept) = kept {
        match kept.status.as_str() {
            DONE => return read(&kept).map(Some),
            WRITTEN => {
                let written = read(&kept)?;
                step = step::Model { epoch: attempt.lease.epoch, ..kept };
                store(attempt, step, place, &written).await?;
                return Ok(Some(written));
            }
            DRAFTED => {
                draft = read(&kept)?;
                step = step::Model { epoch: attempt.lease.epoch, ..kept };
            }
            _ => (step.fallback, step.refused_at) = (kept.fallback, kept.refused_at),
        }
        let text = chunks::text(attempt.store(), &attempt.job.id, &place.step_key).await?;
        stored = text.len();
        if stored > 0 {
            draft.partial.get_or_insert_default().push_str(&text);
        }
        if !desk.knows(&step.fallback) {
            // What it wrote is not for another hand to go on with.
            step = attempt.step(&place.step_key, &place.input_hash);
            (draft, stored) = (Draft::default(), 0);
        }
    }

    let started = json!({
        "key": place.section.key,
        "title": place.title(),
        "section": place.number,
        "sections": place.total,
        "restart": restart,
    });
    let mut change = attempt.store().change(attempt.lease).await?;
    change.checkpoint(step.clone()).await?;
    if stored == 0 {
        // There may be some of an older plan.
        chunks::drop_of(&change, &attempt.job.id, &place.step_key).await?;
    }
    change.set(job::Column::Step, STEP);
    change.event(Kind::SectionStarted, started.clone());
    change.commit().await?;
    attempt.reach("job.step.section.started");

    let other = attempt.fallback_pen(desk, &step).await?;
    let pen = other.as_ref().unwrap_or(&desk.pen);
    let mut recorder = Recorder::new(attempt, step, Some(started), stored);
    let order = Order { plan, key: &place.section.key, before };
    let written = recorder.listen(|sink| async move { Ok(pen.write(order, draft, &sink).await) }).await?;
    let written = match written {
        Ok(written) => written,
        Err(error) => return fallback::after(attempt, desk, recorder.step, error).await.map(|()| None),
    };

    // Stored here before the document service gets it: what was paid for is safe first.
    let mut change = attempt.store().change(attempt.lease).await?;
    recorder.finish(&mut change).await?;
    let mut step = recorder.step;
    step.status = WRITTEN.to_owned();
    step.content = Some(serde_json::to_string(&written).expect("plain data"));
    step.writer = written.writer.clone();
    step.input_tokens = written.usage.input_tokens;
    step.output_tokens = written.usage.output_tokens;
    change.checkpoint(step.clone()).await?;
    change.commit().await?;
    attempt.reach("job.step.section.written");
    store(attempt, step, place, &written).await?;
    Ok(Some(written))
}

/// Hands the section to the document service, and closes the step. Sending it twice does no harm.
async fn store(
    attempt: &Attempt<'_>,
    mut step: step::Model,
    place: &Place<'_>,
    written: &Written,
) -> Result<(), Stop> {
    let documents = attempt.documents();
    let sent = documents.put_section(attempt.fence(), &written.key, &written.blocks, &written.writer).await;
    sent.map_err(|status| classify("document.PutSection", &status))?;
    attempt.reach("job.step.section.sent");
    let mut change = attempt.store().change(attempt.lease).await?;
    step.status = DONE.to_owned();
    step.done_at = Some(change.at.unix_micros());
    change.checkpoint(step).await?;
    // Counted under the lease, after those that were quicker.
    let done = count_done(&change, &attempt.job.id).await?;
    let percent = attempt.job.percent.max(sections_percent(done, place.total));
    change.set(job::Column::SectionsDone, i32::try_from(done).unwrap_or(i32::MAX));
    change.set(job::Column::Percent, percent);
    change.step_done();
    let whole = (attempt.job, place.total);
    let forecast = forecast(&change.tx, attempt.store(), whole, &[]).await?;
    change.event(
        Kind::SectionDone,
        json!({
            "key": place.section.key,
            "title": place.title(),
            "section": place.number,
            "sections": place.total,
            "writer": written.writer,
            "percent": percent,
            "forecast": forecast.map(|forecast| forecast.json()),
        }),
    );
    change.commit().await?;
    attempt.reach("job.step.section.stored");
    Ok(())
}

/// Sections of the job that the document service has.
async fn count_done(change: &Change, job_id: &str) -> Result<usize, Stop> {
    let done = step::Entity::find()
        .filter(step::Column::JobId.eq(job_id))
        .filter(step::Column::StepKey.like("section:%"))
        .filter(step::Column::Status.eq(DONE))
        .count(&change.tx)
        .await?;
    Ok(usize::try_from(done).unwrap_or(usize::MAX))
}

/// What a checkpoint holds.
///
/// # Errors
/// It cannot be read.
pub fn read<T: serde::de::DeserializeOwned>(step: &step::Model) -> Result<T, Stop> {
    let content = step.content.as_deref().unwrap_or_default();
    serde_json::from_str(content).map_err(|_| Stop::failed("poison", "a stored section cannot be read"))
}
