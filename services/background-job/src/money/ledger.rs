//! The ledger of calls. Each row belongs to one attempt and is written under its lease.
//!
//! | status | meaning |
//! |---|---|
//! | `open` | under way, or its process died; counts with the most that it can cost |
//! | `settled` | counted by the provider |
//! | `estimated` | ended without a count of the provider's: what was sent and seen is counted |
//! | `wasted` | its attempt lost the job meanwhile; counted like an estimated one |
//!
//! Wasted money is spent, so it counts in every budget; it is no part of what a document is said to cost.

use quire_database::now;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, Statement};

use super::budget::{Budgets, Exhausted};
use super::price::Price;
use crate::lease::Lease;
use crate::one_row::one_row;
use crate::recordings::{self, Heard};
use crate::store::entity::{cost, job};
use crate::store::{Change, Store};
use crate::writer::Usage;

/// Microseconds of a day.
const DAY: i64 = 24 * 3600 * 1_000_000;
/// Any number that no other lock of this database has.
const SHARED_BUDGETS: i64 = 0x7175_6972_6501;
/// A token of running text has about so many bytes.
const TYPICAL_BYTES: usize = 4;
/// No language in use has tokens that are shorter on average.
const LEAST_BYTES: usize = 2;

/// Whether the attempt of a call no longer has its job.
const LOST: &str = "status = 'open' AND NOT EXISTS (SELECT 1 FROM job_leases held
    WHERE held.job_id = cost_ledger.job_id AND held.epoch = cost_ledger.epoch AND held.boot_id <> '')";

/// Tokens of so many bytes of text, about.
pub fn about(bytes: usize) -> i64 {
    i64::try_from(bytes.div_ceil(TYPICAL_BYTES)).unwrap_or(i64::MAX)
}

/// A call that shall be made.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// SHA-256 of everything that the answer depends on, hex.
    pub request_hash: String,
    pub model: String,
    pub price: Price,
    /// Of everything that is sent.
    pub prompt_bytes: usize,
    /// The provider is told to stop there.
    pub max_output_tokens: i64,
}

impl Wanted {
    /// The most that it can cost.
    fn bound(&self) -> i64 {
        let input_tokens = i64::try_from(self.prompt_bytes.div_ceil(LEAST_BYTES)).unwrap_or(i64::MAX);
        self.price.cost(Usage { input_tokens, output_tokens: self.max_output_tokens })
    }
}

/// A call whose money is reserved.
#[derive(Debug, Clone)]
pub struct Call {
    id: String,
    price: Price,
    prompt_bytes: usize,
    /// UTF-8 bytes of the answer so far.
    pub seen_bytes: usize,
    /// What is to be recorded when it is booked.
    pub heard: Option<Heard>,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The provider counted.
    Counted(Usage),
    /// The answer broke off before the provider said what it counted.
    BrokenOff,
    /// There was no answer, and nothing is paid.
    Refused,
}

/// What is spent and reserved at present, for each bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    pub job: i64,
    pub user_day: i64,
    pub day: i64,
}

/// Reserves the money of a call under the lease of `change`.
///
/// # Errors
/// The database is gone. The inner error: it does not fit into a budget.
pub async fn reserve(
    change: &Change,
    store: &Store,
    (job, lease): (&job::Model, &Lease),
    step_key: &str,
    wanted: &Wanted,
    budgets: &Budgets,
) -> Result<Result<Call, Exhausted>, DbErr> {
    if budgets.are_shared() && store.database.is_postgres() {
        // Two jobs must not both find the same room. SQLite has one writer at a time anyway.
        let sql = format!("SELECT pg_advisory_xact_lock({SHARED_BUDGETS})");
        change.tx.execute_unprepared(&sql).await?;
    }
    book_lost(&change.tx).await?;
    let at = now(&change.tx).await?.unix_micros();
    let spent = spent(&change.tx, job, at - at.rem_euclid(DAY)).await?;
    let reserved = wanted.bound();
    if let Err(exhausted) = budgets.check(job.pages, spent, reserved) {
        return Ok(Err(exhausted));
    }
    let (id, prompt_bytes) = (store.world.id(), wanted.prompt_bytes);
    let call = Call { id, price: wanted.price, prompt_bytes, seen_bytes: 0, heard: None };
    let usage = call.seen();
    let row = cost::ActiveModel {
        id: Set(call.id.clone()),
        job_id: Set(job.id.clone()),
        user_id: Set(job.user_id.clone()),
        epoch: Set(lease.epoch),
        step_key: Set(step_key.to_owned()),
        model: Set(wanted.model.clone()),
        status: Set("open".to_owned()),
        reserved_micro: Set(reserved),
        cost_micro: Set(call.price.cost(usage)),
        input_tokens: Set(usage.input_tokens),
        output_tokens: Set(usage.output_tokens),
        input_price_micro: Set(call.price.input),
        output_price_micro: Set(call.price.output),
        started_at: Set(at),
        ended_at: Set(None),
    };
    cost::Entity::insert(row).exec_without_returning(&change.tx).await?;
    Ok(Ok(call))
}

impl Call {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What was sent and seen so far, about.
    fn seen(&self) -> Usage {
        Usage { input_tokens: about(self.prompt_bytes), output_tokens: about(self.seen_bytes) }
    }

    /// Notes how far the answer has come: should the process die or the job be cancelled, so much is booked.
    pub async fn note(&self, change: &Change) -> Result<(), DbErr> {
        self.write(change, self.seen(), "open", None).await
    }

    /// Books the call, and closes its recording.
    pub async fn settle(&self, change: &Change, outcome: Outcome) -> Result<(), DbErr> {
        if let Some(heard) = &self.heard {
            recordings::close(change, &self.id, heard).await?;
        }
        let (status, usage) = match outcome {
            Outcome::Counted(usage) => ("settled", usage),
            Outcome::BrokenOff => ("estimated", self.seen()),
            Outcome::Refused => {
                cost::Entity::delete_by_id(&self.id).exec(&change.tx).await?;
                return Ok(());
            }
        };
        let at = now(&change.tx).await?.unix_micros();
        self.write(change, usage, status, Some(at)).await
    }

    async fn write(
        &self,
        change: &Change,
        usage: Usage,
        status: &str,
        ended_at: Option<i64>,
    ) -> Result<(), DbErr> {
        cost::Entity::update_many()
            .col_expr(cost::Column::Status, Expr::value(status))
            .col_expr(cost::Column::InputTokens, Expr::value(usage.input_tokens))
            .col_expr(cost::Column::OutputTokens, Expr::value(usage.output_tokens))
            .col_expr(cost::Column::CostMicro, Expr::value(self.price.cost(usage)))
            .col_expr(cost::Column::EndedAt, Expr::value(ended_at))
            .filter(cost::Column::Id.eq(&self.id))
            .exec(&change.tx)
            .await?;
        Ok(())
    }
}

/// Books the calls of this attempt that were broken off from outside, as when the customer cancels.
pub async fn book_own(change: &Change, lease: &Lease) -> Result<(), DbErr> {
    let at = now(&change.tx).await?.unix_micros();
    cost::Entity::update_many()
        .col_expr(cost::Column::Status, Expr::value("estimated"))
        .col_expr(cost::Column::EndedAt, Expr::value(at))
        .filter(cost::Column::Status.eq("open"))
        .filter(cost::Column::JobId.eq(&lease.job_id))
        .filter(cost::Column::Epoch.eq(lease.epoch))
        .exec(&change.tx)
        .await?;
    Ok(())
}

/// Books what is open of a job that ends: calls of attempts that were lost.
pub async fn book_rest(change: &Change, job_id: &str) -> Result<(), DbErr> {
    let at = now(&change.tx).await?.unix_micros();
    cost::Entity::update_many()
        .col_expr(cost::Column::Status, Expr::value("wasted"))
        .col_expr(cost::Column::EndedAt, Expr::value(at))
        .filter(cost::Column::Status.eq("open"))
        .filter(cost::Column::JobId.eq(job_id))
        .exec(&change.tx)
        .await?;
    Ok(())
}

/// Books the open calls of attempts that no longer have their job.
pub async fn book_lost(connection: &impl ConnectionTrait) -> Result<(), DbErr> {
    let at = now(connection).await?.unix_micros();
    let sql = format!("UPDATE cost_ledger SET status = 'wasted', ended_at = $1 WHERE {LOST}");
    let backend = connection.get_database_backend();
    connection.execute_raw(Statement::from_sql_and_values(backend, sql, [at.into()])).await?;
    Ok(())
}

/// A query of the sums over all calls, by `model` and `status`: `cost`, `reserved`, `input` and `output`. A call of an
/// attempt that lost its job is wasted, also before it is booked so.
pub fn totals() -> String {
    let sum = |column: &str, name: &str| format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT) AS {name}");
    format!(
        "SELECT model, status, {}, {}, {}, {} FROM (
            SELECT model, CASE WHEN {LOST} THEN 'wasted' ELSE status END AS status,
                cost_micro, reserved_micro, input_tokens, output_tokens FROM cost_ledger) calls
         GROUP BY model, status",
        sum("cost_micro", "cost"),
        sum("reserved_micro", "reserved"),
        sum("input_tokens", "input"),
        sum("output_tokens", "output"),
    )
}

/// Open calls count with their reservation.
async fn spent(connection: &impl ConnectionTrait, job: &job::Model, day: i64) -> Result<Spent, DbErr> {
    let sum = |condition: &str| {
        format!(
            "(SELECT CAST(COALESCE(SUM(CASE status WHEN 'open' THEN reserved_micro ELSE cost_micro END), 0) AS BIGINT)
              FROM cost_ledger WHERE {condition})"
        )
    };
    let sql = format!(
        "SELECT {} AS job, {} AS user_day, {} AS day",
        sum("job_id = $1"),
        sum("user_id = $2 AND started_at >= $3"),
        sum("started_at >= $3")
    );
    let values = [job.id.as_str().into(), job.user_id.as_str().into(), day.into()];
    let row = one_row(connection, &sql, values).await?;
    Ok(Spent {
        job: row.try_get("", "job")?,
        user_day: row.try_get("", "user_day")?,
        day: row.try_get("", "day")?,
    })
}
