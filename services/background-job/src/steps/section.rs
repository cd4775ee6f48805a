//! The long step: every section, one after the other.

use serde_json::json;

use super::{fallback, sections_percent};
use crate::attempt::{Attempt, Desk, input_hash};
use crate::chunks;
use crate::error::Stop;
use crate::events::Kind;
use crate::recorder::{DONE, DRAFTED, Recorder, WRITTEN};
use crate::retry::classify;
use crate::store::entity::{job, step};
use crate::writer::{Draft, Order, Plan, PlannedChapter, PlannedSection, Written};

const STEP: &str = "section";

/// One section's place in the plan.
struct Place<'a> {
    chapter: &'a PlannedChapter,
    section: &'a PlannedSection,
    /// Counted from 1.
    number: usize,
    total: usize,
    step_key: String,
    input_hash: String,
}

/// Every section of the plan, written now or before.
///
/// # Errors
/// As [`Attempt::run`].
pub async fn run_all(attempt: &Attempt<'_>, desk: &Desk, plan: &Plan) -> Result<Vec<Written>, Stop> {
    let plan_hash = input_hash(plan);
    let total = plan.sections().count();
    let mut written = Vec::with_capacity(total);
    for ((chapter, section), number) in plan.sections().zip(1..) {
        let place = Place {
            chapter,
            section,
            number,
            total,
            step_key: step_key(section),
            input_hash: section_hash(&plan_hash, section),
        };
        let section = loop {
            attempt.checkpoint()?;
            if let Some(section) = run(attempt, desk, plan, &place, &written).await? {
                break section;
            }
        };
        written.push(section);
    }
    Ok(written)
}

/// The sections that the document service has, in the order of the plan.
///
/// # Errors
/// One cannot be read, or the database is gone.
pub async fn finished(attempt: &Attempt<'_>, plan: &Plan) -> Result<Vec<Written>, Stop> {
    let plan_hash = input_hash(plan);
    let mut finished = Vec::new();
    for (_, section) in plan.sections() {
        let kept = attempt.kept(&step_key(section), &section_hash(&plan_hash, section)).await?;
        if let Some(step) = kept.filter(|step| step.status == DONE) {
            finished.push(read(step.content.as_deref().unwrap_or_default())?);
        }
    }
    Ok(finished)
}

fn step_key(section: &PlannedSection) -> String {
    format!("{STEP}:{}", section.key)
}

/// Not of the text before it: a section is not stale because its neighbour was written again.
fn section_hash(plan_hash: &str, section: &PlannedSection) -> String {
    input_hash(&(plan_hash, &section.key))
}

/// `None`: its writer gave up, and another one stands in.
async fn run(
    attempt: &Attempt<'_>,
    desk: &Desk,
    plan: &Plan,
    place: &Place<'_>,
    before: &[Written],
) -> Result<Option<Written>, Stop> {
    let kept = attempt.kept(&place.step_key, &place.input_hash).await?;
    let mut step = attempt.step(&place.step_key, &place.input_hash);
    let mut draft = Draft::default();
    let restart = kept.is_some();
    let mut stored = 0;
    if let Some(kept) = kept {
        let content = kept.content.as_deref().unwrap_or_default();
        match kept.status.as_str() {
            DONE => return read(content).map(Some),
            WRITTEN => {
                let written: Written = read(content)?;
                step = step::Model { epoch: attempt.lease.epoch, ..kept };
                store(attempt, step, place, &written).await?;
                return Ok(Some(written));
            }
            DRAFTED => {
                draft = read(content)?;
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
    let done = attempt.sections_done().await? + 1;
    let percent = attempt.job.percent.max(sections_percent(done, place.total));
    let mut change = attempt.store().change(attempt.lease).await?;
    step.status = DONE.to_owned();
    step.done_at = Some(change.at.unix_micros());
    change.checkpoint(step).await?;
    change.set(job::Column::SectionsDone, i32::try_from(done).unwrap_or(i32::MAX));
    change.set(job::Column::Percent, percent);
    change.step_done();
    change.event(
        Kind::SectionDone,
        json!({
            "key": place.section.key,
            "title": place.title(),
            "section": place.number,
            "sections": place.total,
            "writer": written.writer,
            "percent": percent,
        }),
    );
    change.commit().await?;
    attempt.reach("job.step.section.stored");
    Ok(())
}

impl Place<'_> {
    fn title(&self) -> &str {
        self.section.title.as_deref().unwrap_or(&self.chapter.title)
    }
}

fn read<T: serde::de::DeserializeOwned>(content: &str) -> Result<T, Stop> {
    serde_json::from_str(content).map_err(|_| Stop::failed("poison", "a stored section cannot be read"))
}
