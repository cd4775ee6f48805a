//! The text of an answer that a model is giving, stored in pieces: who takes the job over goes on from there.

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder};

use crate::store::entity::{chunk, step};
use crate::store::{Change, Store};

/// Stores the next piece; `start` counts the UTF-8 bytes before it.
pub async fn add(change: &Change, step: &step::Model, start: usize, text: String) -> Result<(), DbErr> {
    let row = chunk::ActiveModel {
        job_id: Set(step.job_id.clone()),
        step_key: Set(step.step_key.clone()),
        start: Set(i64::try_from(start).unwrap_or(i64::MAX)),
        epoch: Set(step.epoch),
        text: Set(text),
    };
    chunk::Entity::insert(row).exec_without_returning(&change.tx).await?;
    Ok(())
}

/// What is stored of the answer under way; empty if nothing is.
pub async fn text(store: &Store, job_id: &str, step_key: &str) -> Result<String, DbErr> {
    let chunks = chunk::Entity::find()
        .filter(chunk::Column::JobId.eq(job_id))
        .filter(chunk::Column::StepKey.eq(step_key))
        .order_by_asc(chunk::Column::Start)
        .all(store.database.reader())
        .await?;
    Ok(chunks.into_iter().map(|chunk| chunk.text).collect())
}

/// Drops the pieces of a step.
pub async fn drop_of(change: &Change, job_id: &str, step_key: &str) -> Result<(), DbErr> {
    chunk::Entity::delete_many()
        .filter(chunk::Column::JobId.eq(job_id))
        .filter(chunk::Column::StepKey.eq(step_key))
        .exec(&change.tx)
        .await?;
    Ok(())
}

/// Drops the pieces of every step of a job.
pub async fn drop_all(change: &Change, job_id: &str) -> Result<(), DbErr> {
    chunk::Entity::delete_many().filter(chunk::Column::JobId.eq(job_id)).exec(&change.tx).await?;
    Ok(())
}
