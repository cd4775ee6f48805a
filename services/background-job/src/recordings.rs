//! Every call of a model, recorded: what it was asked, as a hash, and what it said, as it came. A job can be written once
//! more from them.
//!
//! A recording is opened with the reservation of the money, follows the text as it is stored, and is closed in the
//! transaction that books the call: what is paid for is recorded, whatever dies when. All of it is fenced, as the change
//! is that it is written in. Recordings are kept as long as events.

use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{BinOper, Expr};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder};
use serde::{Deserialize, Serialize};

use crate::store::entity::{recording, step};
use crate::store::{Change, Store};

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Whole,
    /// There was no more room.
    NoRoom,
    /// The provider does not let it say this.
    Filtered,
}

/// What was heard of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// As it came. Of a call that is still open, the part that is stored, without what it repeats of the text before.
    pub answer: String,
    pub ending: Ending,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ending {
    /// It is under way, or its process died.
    Open,
    /// The stream ended by itself; `done`: the provider said that nothing more comes.
    Answered {
        end: Option<End>,
        done: bool,
    },
    /// The model said the same over and over.
    Looping,
    /// The stream held something that is no answer.
    Garbled,
    Retry {
        reason: String,
    },
    Wait {
        reason: String,
    },
    Failed {
        sentence: String,
    },
}

/// Opens the recording of a call.
///
/// # Errors
/// The database is gone.
pub async fn open(
    change: &Change,
    step: &step::Model,
    call_id: &str,
    request_hash: &str,
) -> Result<(), DbErr> {
    // Nobody else counts them: the change holds the job's lease row.
    let of_job = recording::Entity::find().filter(recording::Column::JobId.eq(&step.job_id));
    let before = of_job.count(&change.tx).await?;
    let row = recording::ActiveModel {
        call_id: Set(call_id.to_owned()),
        job_id: Set(step.job_id.clone()),
        ordinal: Set(i64::try_from(before).unwrap_or(i64::MAX).saturating_add(1)),
        step_key: Set(step.step_key.clone()),
        epoch: Set(step.epoch),
        request_hash: Set(request_hash.to_owned()),
        answer: Set(String::new()),
        ending: Set(json(&Ending::Open)),
        input_tokens: Set(None),
        output_tokens: Set(None),
    };
    recording::Entity::insert(row).exec_without_returning(&change.tx).await?;
    Ok(())
}

/// Adds text that is stored while the call goes on.
///
/// # Errors
/// The database is gone.
pub async fn append(change: &Change, call_id: &str, text: &str) -> Result<(), DbErr> {
    let so_far = Expr::col(recording::Column::Answer);
    set_answer(change, call_id, so_far.binary(BinOper::Custom("||"), Expr::value(storable(text)))).await
}

/// The text so far is void.
///
/// # Errors
/// The database is gone.
pub async fn void(change: &Change, call_id: &str) -> Result<(), DbErr> {
    set_answer(change, call_id, Expr::value("")).await
}

async fn set_answer(change: &Change, call_id: &str, answer: Expr) -> Result<(), DbErr> {
    recording::Entity::update_many()
        .col_expr(recording::Column::Answer, answer)
        .filter(recording::Column::CallId.eq(call_id))
        .exec(&change.tx)
        .await?;
    Ok(())
}

/// Closes the recording of a call.
///
/// # Errors
/// The database is gone.
pub async fn close(change: &Change, call_id: &str, heard: &Heard) -> Result<(), DbErr> {
    recording::Entity::update_many()
        .col_expr(recording::Column::Answer, Expr::value(storable(&heard.answer)))
        .col_expr(recording::Column::Ending, Expr::value(json(&heard.ending)))
        .col_expr(recording::Column::InputTokens, Expr::value(heard.input_tokens))
        .col_expr(recording::Column::OutputTokens, Expr::value(heard.output_tokens))
        .filter(recording::Column::CallId.eq(call_id))
        .exec(&change.tx)
        .await?;
    Ok(())
}

/// The recordings of one step, in the order of the calls: the hash of each request and what was heard.
///
/// # Errors
/// The database is gone.
pub async fn of_step(store: &Store, job_id: &str, step_key: &str) -> Result<Vec<(String, Heard)>, DbErr> {
    let rows = recording::Entity::find()
        .filter(recording::Column::JobId.eq(job_id))
        .filter(recording::Column::StepKey.eq(step_key))
        .order_by_asc(recording::Column::Ordinal)
        .all(store.database.reader())
        .await?;
    let heard = |row: recording::Model| {
        // Written by a newer version, perhaps: then it is not known how it ended.
        let ending = serde_json::from_str(&row.ending).unwrap_or(Ending::Open);
        let (input_tokens, output_tokens) = (row.input_tokens, row.output_tokens);
        (row.request_hash, Heard { answer: row.answer, ending, input_tokens, output_tokens })
    };
    Ok(rows.into_iter().map(heard).collect())
}

fn json(ending: &Ending) -> String {
    serde_json::to_string(ending).expect("names and texts")
}

/// PostgreSQL has no U+0000 in a text.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
