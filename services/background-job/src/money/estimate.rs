//! What a document is expected to cost.

use quire_fault::{Rule, Violation};
use sea_orm::DbErr;

use crate::error::JobError;
use crate::one_row::one_row;
use crate::store::Store;
use crate::writer::Usage;
use crate::writers::Offered;

/// Tokens written for a page: 430 words of English, and what is written twice because of its citations.
const OUTPUT_PER_PAGE: i64 = 650;
/// Tokens read for a page: the passages, the outline and the summaries that a section of 700 words is given.
const INPUT_PER_PAGE: i64 = 2600;
/// No document has more.
const MAX_PAGES: i32 = 100_000;
/// So many finished jobs make an average.
const ENOUGH_JOBS: i64 = 3;

/// What a document is expected to need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    pub usage: Usage,
    /// Millionths of a US dollar; `None`: the model has no price.
    pub cost_micro: Option<i64>,
    /// Finished jobs that it is the average of; 0: it comes from constants.
    pub measured_jobs: i64,
}

/// The estimate for a document of so many pages, by one of the writers that are offered.
///
/// # Errors
/// [`JobError::Invalid`]: there is no such writer, or no such document; or the database is gone.
pub async fn estimate<'a>(
    store: &Store,
    offered: &'a [Offered],
    (writer, pages): (&str, i32),
) -> Result<(&'a Offered, Estimate), JobError> {
    let mut violations = Vec::new();
    if pages < 1 {
        violations.push(Violation::new("pages", Rule::GreaterThanEqual(1)));
    } else if pages > MAX_PAGES {
        violations.push(Violation::new("pages", Rule::LessThanEqual(i64::from(MAX_PAGES))));
    }
    let found = offered.iter().find(|offered| offered.writer == writer);
    if found.is_none() {
        let names = offered.iter().map(|offered| offered.writer.to_owned()).collect();
        violations.push(Violation::new("writer", Rule::Enum(names)));
    }
    match found {
        Some(found) if violations.is_empty() => Ok((found, of(store, found, i64::from(pages)).await?)),
        _ => Err(JobError::Invalid(violations)),
    }
}

/// The same for a writer that is known.
///
/// # Errors
/// The database is gone.
pub async fn of(store: &Store, offered: &Offered, pages: i64) -> Result<Estimate, DbErr> {
    let Some(model) = &offered.model else {
        return Ok(Estimate { usage: Usage::default(), cost_micro: Some(0), measured_jobs: 0 });
    };
    let measured = measured(store, model).await?;
    let (usage, measured_jobs) = if measured.jobs >= ENOUGH_JOBS {
        let scale = |tokens: i64| {
            let scaled = i128::from(tokens) * i128::from(pages) / i128::from(measured.pages.max(1));
            i64::try_from(scaled).unwrap_or(i64::MAX)
        };
        let Usage { input_tokens, output_tokens } = measured.usage;
        (Usage { input_tokens: scale(input_tokens), output_tokens: scale(output_tokens) }, measured.jobs)
    } else {
        (Usage { input_tokens: pages * INPUT_PER_PAGE, output_tokens: pages * OUTPUT_PER_PAGE }, 0)
    };
    Ok(Estimate { usage, cost_micro: offered.price.map(|price| price.cost(usage)), measured_jobs })
}

/// Sums over the finished jobs of a model.
struct Measured {
    jobs: i64,
    pages: i64,
    usage: Usage,
}

async fn measured(store: &Store, model: &str) -> Result<Measured, DbErr> {
    let sql = "SELECT CAST(COUNT(*) AS BIGINT) AS jobs, CAST(COALESCE(SUM(pages), 0) AS BIGINT) AS pages,
            CAST(COALESCE(SUM(input), 0) AS BIGINT) AS input, CAST(COALESCE(SUM(output), 0) AS BIGINT) AS output
         FROM (SELECT job.id, job.pages AS pages, SUM(call.input_tokens) AS input, SUM(call.output_tokens) AS output
            FROM cost_ledger call JOIN jobs job ON job.id = call.job_id
            WHERE call.model = $1 AND call.status <> 'wasted' AND job.status = 'completed' AND job.purpose = 'document'
            GROUP BY job.id, job.pages) finished";
    let row = one_row(store.database.reader(), sql, [model.into()]).await?;
    let usage = Usage { input_tokens: row.try_get("", "input")?, output_tokens: row.try_get("", "output")? };
    Ok(Measured { jobs: row.try_get("", "jobs")?, pages: row.try_get("", "pages")?, usage })
}
