//! The step that makes the files: the book is put together, typeset to its pages and stored.

use quire_clock::Timestamp;
use quire_manuscript::{Book, Chapter, Meta, Section, book_to_markdown};
use quire_proto::document::v1::ExportFormat;
use quire_typeset::TypesetError;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{TYPESET, WRITTEN, glyphs};
use crate::attempt::{Attempt, Desk, input_hash};
use crate::error::Stop;
use crate::events::Kind;
use crate::recorder::DONE;
use crate::retry::classify;
use crate::store::entity::job;
use crate::writer::{Plan, Written};

const KEY: &str = "typeset";

#[derive(Serialize, Deserialize)]
struct Printed {
    pages: i32,
}

/// The pages of the book's stored PDF, made now or before.
///
/// # Errors
/// As [`Attempt::run`].
pub async fn run(attempt: &Attempt<'_>, book: Book) -> Result<i32, Stop> {
    attempt.checkpoint()?;
    let input_hash = input_hash(&book);
    if let Some(kept) = attempt.kept(KEY, &input_hash).await?
        && kept.status == DONE
        && let Some(printed) = kept.content.and_then(|content| serde_json::from_str::<Printed>(&content).ok())
    {
        return Ok(printed.pages);
    }
    let mut change = attempt.store().change(attempt.lease).await?;
    // The share of a job that was cancelled stays what it was.
    let cancelled = attempt.job.cancel_requested_at.is_some();
    let percent_of = |whole| if cancelled { attempt.job.percent } else { attempt.job.percent.max(whole) };
    let percent = percent_of(WRITTEN);
    change.set(job::Column::Step, KEY);
    change.set(job::Column::Percent, percent);
    change.event(Kind::Typesetting, json!({ "percent": percent }));
    change.commit().await?;

    let print = glyphs::print(attempt.tools.press.as_ref(), book, attempt.pages()).await;
    let (printed, replaced) = print.map_err(refused)?;
    attempt.reach("job.step.typeset.printed");
    let markdown = book_to_markdown(&printed.book);
    for (format, bytes) in [(ExportFormat::Pdf, printed.pdf), (ExportFormat::Markdown, markdown.into_bytes())]
    {
        let sent = attempt.documents().put_export(attempt.fence(), format, bytes).await;
        sent.map_err(|status| classify("document.PutExport", &status))?;
    }
    attempt.reach("job.step.typeset.exported");

    let pages = i32::try_from(printed.pages).unwrap_or(i32::MAX);
    let mut change = attempt.store().change(attempt.lease).await?;
    let mut step = attempt.step(KEY, &input_hash);
    step.status = DONE.to_owned();
    step.done_at = Some(change.at.unix_micros());
    step.content = Some(serde_json::to_string(&Printed { pages }).expect("a number"));
    change.checkpoint(step).await?;
    if !replaced.is_empty() {
        tracing::warn!(job_id = attempt.job.id, ?replaced, "characters that no font has were replaced");
        change.event(Kind::Typesetting, json!({ "percent": percent, "replaced": replaced }));
    }
    change.set(job::Column::CountedPages, pages);
    change.set(job::Column::Percent, percent_of(TYPESET));
    change.step_done();
    change.commit().await?;
    attempt.reach("job.step.typeset.stored");
    Ok(pages)
}

/// What was planned, with the sections that are written. Dated by the job, so that a second typesetting gives the same
/// bytes.
pub fn book(job: &job::Model, desk: &Desk, plan: &Plan, sections: &[Written]) -> Book {
    let blocks =
        |key: &str| sections.iter().find(|section| section.key == key).map(|section| section.blocks.clone());
    let chapters = plan.chapters.iter().map(|chapter| Chapter {
        title: chapter.title.clone(),
        sections: chapter
            .sections
            .iter()
            .map(|section| Section {
                title: section.title.clone(),
                blocks: blocks(&section.key).unwrap_or_default(),
            })
            .collect(),
    });
    Book {
        meta: Meta {
            title: desk.task.title.clone(),
            subtitle: None,
            language: desk.task.language.clone(),
            date: Timestamp::from_unix_micros(job.created_at).date(),
            disclosure: desk.pen.disclosure(&writers(sections)),
        },
        chapters: chapters.collect(),
        references: desk.pen.references(plan, sections),
    }
}

/// Who wrote them, in the order in which they come first.
fn writers(sections: &[Written]) -> Vec<&str> {
    let mut writers: Vec<&str> = Vec::new();
    for section in sections {
        if !writers.contains(&section.writer.as_str()) {
            writers.push(&section.writer);
        }
    }
    writers
}

fn refused(error: TypesetError) -> Stop {
    tracing::warn!(%error, "typesetting failed");
    match error {
        TypesetError::MissingGlyph { codepoint, .. } => {
            Stop::failed("missing_glyph", format!("no font here has the character {codepoint}"))
        }
        TypesetError::Compile(_) => Stop::failed("layout", "the document could not be laid out"),
        TypesetError::Timeout { .. } => Stop::retry("typesetting took too long"),
        TypesetError::OutOfMemory { .. } => Stop::retry("typesetting ran out of memory"),
        TypesetError::Child(_) => Stop::retry("the typesetting process failed"),
    }
}
