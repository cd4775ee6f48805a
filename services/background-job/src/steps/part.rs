//! What a cancelled job still delivers: its finished sections, typeset as a document of their own. Only they are paid.

use std::collections::HashSet;

use quire_manuscript::Book;
use quire_proto::document::v1::DocumentStatus;

use super::{finish, plan, review, sections, typeset};
use crate::attempt::{Attempt, Desk};
use crate::chunks;
use crate::ending::{self, Ending, FINISH};
use crate::error::Stop;
use crate::money::ledger;
use crate::retry::classify;
use crate::store::entity::job;
use crate::writer::{Plan, Written};

/// Delivers what is finished of a cancelled job, and ends it.
///
/// # Errors
/// As [`Attempt::run`]; but [`Stop::Cancelled`] means that nothing is delivered.
pub async fn run(attempt: &Attempt<'_>) -> Result<(), Stop> {
    // What was being written is broken off, and paid up to here.
    let change = attempt.store().change(attempt.lease).await?;
    ledger::book_own(&change, attempt.lease).await?;
    chunks::drop_all(&change, &attempt.job.id).await?;
    change.commit().await?;
    // As it is now: when the attempt began, it may not have been cancelled.
    let job = attempt.store().job(&attempt.job.id).await?.ok_or(Stop::LeaseLost)?;
    let attempt = &Attempt { job: &job, ..*attempt };
    if job.step == FINISH {
        // The files are stored, and the document may be handed over already.
        return hand_over(attempt, job.counted_pages).await;
    }
    if job.refunded_at.is_some() {
        return Err(Stop::Cancelled);
    }
    let plan = match review::stored(attempt).await? {
        Some(plan) => plan,
        None => plan::stored(attempt).await?.ok_or(Stop::Cancelled)?,
    };
    let finished = sections::finished(attempt, &plan).await?;
    if finished.is_empty() {
        return Err(Stop::Cancelled);
    }
    let desk = attempt.desk().await?;
    let pages = typeset::run(attempt, book(&job, &desk, plan, finished)).await?;
    // Payment may have given all the money back in the meantime.
    finish::decide(attempt, job::Column::RefundedAt).await?;
    attempt.reach("job.cancel.part_decided");
    hand_over(attempt, pages).await
}

async fn hand_over(attempt: &Attempt<'_>, pages: i32) -> Result<(), Stop> {
    let documents = attempt.documents();
    let reported = documents.report(attempt.fence(), DocumentStatus::Cancelled, pages, "").await;
    match reported.map_err(|status| classify("document.ReportJob", &status)) {
        Ok(()) => {}
        // The document is gone, or what another job delivered stays: the customer does not get this part.
        Err(Stop::Failed { .. }) => return Err(Stop::Cancelled),
        Err(stop) => return Err(stop),
    }
    attempt.reach("job.cancel.part_reported");
    let ending = Ending::Cancelled { pages: pages.min(attempt.job.pages) };
    ending::end(attempt.store(), attempt.lease, ending).await
}

/// The finished sections in their chapters. If any is missing, the title page says which are there.
fn book(job: &job::Model, desk: &Desk, mut plan: Plan, finished: Vec<(usize, Written)>) -> Book {
    let planned = plan.sections().count();
    let mark = mark(&finished, planned);
    let finished: Vec<Written> = finished.into_iter().map(|(_, written)| written).collect();
    let Some(mark) = mark else {
        return typeset::book(job, desk, &plan, &finished);
    };
    let keys: HashSet<&str> = finished.iter().map(|written| written.key.as_str()).collect();
    for chapter in &mut plan.chapters {
        chapter.sections.retain(|section| keys.contains(section.key.as_str()));
    }
    plan.chapters.retain(|chapter| !chapter.sections.is_empty());
    let mut book = typeset::book(job, desk, &plan, &finished);
    book.meta.subtitle = Some(mark);
    // Every optional block stays; references that only the missing sections cite go.
    book.without_optional_from(u32::MAX)
}

/// The finished sections, runs of neighbours by their ends, and how many of how many there are, in signs that need no
/// translation: `§ 1.1–1.3, 2.2 (4/9)`. `None` if all are there.
fn mark(finished: &[(usize, Written)], planned: usize) -> Option<String> {
    let count = finished.len();
    let neighbours = finished.chunk_by(|(at, _), (next, _)| at + 1 == *next);
    let runs = neighbours.map(|run| match run {
        [(_, first), .., (_, last)] => format!("{}–{}", first.key, last.key),
        _ => run.iter().map(|(_, only)| only.key.as_str()).collect(),
    });
    let runs: Vec<String> = runs.collect();
    (count < planned).then(|| format!("§ {} ({count}/{planned})", runs.join(", ")))
}
