//! What the database knows for a forecast.

use quire_clock::Timestamp;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder};
use serde_json::{Value, json};

use super::{Finish, Known, Others, cost, finish};
use crate::money::estimate;
use crate::one_row::one_row;
use crate::recorder::DONE;
use crate::steps::plan;
use crate::store::entity::{job, step};
use crate::store::{Purpose, Status, Store};
use crate::writers::Offered;

/// The writer of jobs that make no call.
const DIGEST: &str = "digest";
/// Sections of one job differ by about this share of their mean.
const WITHIN: f64 = 0.4;
/// Typesetting a page takes about so many microseconds until finished jobs have shown it.
const TYPESET_PAGE: i64 = 60_000;
/// And starting the process, and storing the files.
const TYPESET: i64 = 2_000_000;

/// What a job is expected to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    pub finish: Finish,
    /// Millionths of a US dollar; `None`: the model has no price.
    pub cost_micro: Option<i64>,
}

impl Forecast {
    /// As the `section_done` event carries it.
    pub fn json(&self) -> Value {
        let moment = |micros| Timestamp::from_unix_micros(micros).rfc3339();
        json!({
            "finish_p50": moment(self.finish.p50),
            "finish_p90": moment(self.finish.p90),
            "cost_micro": self.cost_micro,
        })
    }
}

/// The forecast of a job of `total` sections; `None` before its plan is there, while it rests, when it is over, and while no section of its
/// writer was ever measured. `connection` sees the job as it is meant: a change sees its own checkpoints.
///
/// # Errors
/// The database is gone.
pub async fn forecast(
    connection: &impl ConnectionTrait,
    store: &Store,
    (job, total): (&job::Model, usize),
    offered: &[Offered],
) -> Result<Option<Forecast>, DbErr> {
    let writes = job.purpose() == Purpose::Document && total > 0;
    if !matches!(job.status(), Status::Queued | Status::Running) || !writes {
        return Ok(None);
    }
    let steps = step::Entity::find()
        .filter(step::Column::JobId.eq(&job.id))
        .filter(step::Column::Status.eq(DONE))
        .order_by_asc(step::Column::DoneAt)
        .all(connection)
        .await?;
    let sections: Vec<&step::Model> =
        steps.iter().filter(|step| step.step_key.starts_with("section:")).collect();
    let Some(planned) = steps.iter().find(|step| step.step_key == plan::KEY) else { return Ok(None) };
    let marks: Vec<(i64, i64)> = std::iter::once(&planned)
        .chain(&sections)
        .filter_map(|step| Some((step.epoch, step.done_at?)))
        .collect();
    // Between two attempts lies whatever there was to wait for.
    let together = marks.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    let gaps = together.map(|pair| pair[1].1 - pair[0].1).collect();
    let left = total.saturating_sub(sections.len());
    let spent = spent(connection, &job.id).await?;
    let writer = spent.model.as_deref().unwrap_or(DIGEST);
    let measured = measured(connection, writer).await?;
    let now = store.world.now().unix_micros();
    let waits = if job.status() == Status::Queued { job.run_at } else { 0 };
    let begins = now.max(waits);
    let last = marks.last().map_or(begins, |(_, done_at)| *done_at);
    let known = Known {
        now: begins,
        // Nobody writes while it waits.
        since: if job.status() == Status::Queued { begins } else { last },
        sections_left: left,
        gaps,
        others: measured.others,
        typeset: TYPESET + i64::from(job.pages) * measured.typeset_page.unwrap_or(TYPESET_PAGE),
    };
    let Some(finish) = finish(&known) else { return Ok(None) };
    let offer = offered.iter().find(|offer| offer.model.as_deref().unwrap_or(DIGEST) == writer);
    let estimate = match offer {
        Some(offer) if sections.is_empty() => {
            estimate::of(store, offer, i64::from(job.pages)).await?.cost_micro
        }
        _ => None,
    };
    let cost_micro = cost(spent.all, spent.on_sections, (sections.len(), left), estimate);
    Ok(Some(Forecast { finish, cost_micro }))
}

/// The forecast of a job as it stands.
///
/// # Errors
/// The database is gone.
pub async fn of_job(store: &Store, job: &job::Model, offered: &[Offered]) -> Result<Option<Forecast>, DbErr> {
    let total = usize::try_from(job.sections_total).unwrap_or_default();
    forecast(store.database.reader(), store, (job, total), offered).await
}

/// What a job has cost so far, without what was wasted, and the model that it asks.
struct Spent {
    all: i64,
    on_sections: i64,
    model: Option<String>,
}

async fn spent(connection: &impl ConnectionTrait, job_id: &str) -> Result<Spent, DbErr> {
    let sql = "SELECT CAST(COALESCE(SUM(cost_micro), 0) AS BIGINT) AS spent,
            CAST(COALESCE(SUM(CASE WHEN step_key LIKE 'section:%' THEN cost_micro ELSE 0 END), 0) AS BIGINT)
                AS on_sections,
            MAX(model) AS model
         FROM cost_ledger WHERE job_id = $1 AND status <> 'wasted'";
    let row = one_row(connection, sql, [job_id.into()]).await?;
    Ok(Spent {
        all: row.try_get("", "spent")?,
        on_sections: row.try_get("", "on_sections")?,
        model: row.try_get("", "model")?,
    })
}

/// Over the last finished jobs.
struct Measured {
    others: Option<Others>,
    /// Microseconds for typesetting a page.
    typeset_page: Option<i64>,
}

async fn measured(connection: &impl ConnectionTrait, writer: &str) -> Result<Measured, DbErr> {
    // Jobs that ran through: in others, the time between two sections may be anything.
    let sql = "WITH finished AS (
           SELECT id, pages, finished_at FROM jobs
           WHERE status = 'completed' AND purpose = 'document' AND attempt = 1 AND events_pruned_at IS NULL
             AND finished_at IS NOT NULL
           ORDER BY finished_at DESC LIMIT 50
         ), paces AS (
           SELECT finished.id AS id, CAST(MAX(step.done_at) - MIN(step.done_at) AS DOUBLE PRECISION) / (COUNT(*) - 1)
                  AS pace
           FROM finished JOIN job_steps step ON step.job_id = finished.id
           WHERE step.step_key LIKE 'section:%' AND step.writer = $1
           GROUP BY finished.id HAVING COUNT(*) > 1
         ), typesets AS (
           SELECT CAST(AVG((typeset.done_at - section.done_at) / finished.pages) AS BIGINT) AS page
           FROM finished
           JOIN job_steps typeset ON typeset.job_id = finished.id AND typeset.step_key = 'typeset'
           JOIN (SELECT job_id, MAX(done_at) AS done_at FROM job_steps WHERE step_key LIKE 'section:%'
                 AND job_id IN (SELECT id FROM finished) GROUP BY job_id) section ON section.job_id = finished.id
         )
         SELECT AVG(pace) AS mean, AVG(pace * pace) AS square, (SELECT page FROM typesets) AS page FROM paces";
    let row = one_row(connection, sql, [writer.into()]).await?;
    let (mean, square): (Option<f64>, Option<f64>) = (row.try_get("", "mean")?, row.try_get("", "square")?);
    let others = mean.zip(square).map(|(mean, square)| {
        let between = (square - mean * mean).max(0.0).sqrt();
        Others { mean, deviation: between.hypot(WITHIN * mean) }
    });
    Ok(Measured { others, typeset_page: row.try_get("", "page")? })
}
