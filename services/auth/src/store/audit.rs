//! The audit log and its head.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::audit_event::{Column, Entity, Model};
use super::audit_head;

/// Rows in one statement: SQLite takes at most 32,766 values.
const AT_ONCE: usize = 500;

/// Locks the head of the log until the transaction ends: whoever holds it is alone.
pub async fn lock_head(connection: &impl ConnectionTrait) -> Result<audit_head::Model, DbErr> {
    let head = audit_head::Entity::update_many()
        .col_expr(audit_head::Column::Seq, Expr::col(audit_head::Column::Seq))
        .filter(audit_head::Column::Id.eq(1))
        .exec_with_returning(connection)
        .await?;
    head.into_iter().next().ok_or_else(no_head)
}

pub async fn head(connection: &impl ConnectionTrait) -> Result<audit_head::Model, DbErr> {
    audit_head::Entity::find_by_id(1).one(connection).await?.ok_or_else(no_head)
}

fn no_head() -> DbErr {
    DbErr::RecordNotFound("the audit log has no head".to_owned())
}

/// Adds rows and moves the head behind them.
pub async fn append(connection: &impl ConnectionTrait, events: Vec<Model>) -> Result<(), DbErr> {
    let Some(last) = events.last() else { return Ok(()) };
    let (seq, hash) = (last.seq, last.hash.clone());
    for chunk in events.chunks(AT_ONCE) {
        let rows = chunk.iter().cloned().map(IntoActiveModel::into_active_model);
        Entity::insert_many(rows).exec_without_returning(connection).await?;
    }
    audit_head::Entity::update_many()
        .col_expr(audit_head::Column::Seq, Expr::value(seq))
        .col_expr(audit_head::Column::Hash, Expr::value(hash))
        .filter(audit_head::Column::Id.eq(1))
        .exec(connection)
        .await?;
    Ok(())
}

/// Events that match, newest first.
pub async fn events(
    connection: &impl ConnectionTrait,
    matching: Condition,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    Entity::find().filter(matching).order_by_desc(Column::Seq).limit(limit).all(connection).await
}

/// Events after a place, oldest first.
pub async fn events_after(
    connection: &impl ConnectionTrait,
    seq: i64,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    Entity::find().filter(Column::Seq.gt(seq)).order_by_asc(Column::Seq).limit(limit).all(connection).await
}

/// The first event that is not older than a moment.
pub async fn first_since(connection: &impl ConnectionTrait, micros: i64) -> Result<Option<i64>, DbErr> {
    let first = Entity::find()
        .filter(Column::At.gte(micros))
        .order_by_asc(Column::Seq)
        .limit(1)
        .one(connection)
        .await?;
    Ok(first.map(|event| event.seq))
}

pub async fn event_at(connection: &impl ConnectionTrait, seq: i64) -> Result<Option<Model>, DbErr> {
    Entity::find().filter(Column::Seq.eq(seq)).one(connection).await
}

/// Deletes events up to a place, and remembers in the head where the log now begins.
pub async fn prune(connection: &impl ConnectionTrait, last: &Model) -> Result<(), DbErr> {
    audit_head::Entity::update_many()
        .col_expr(audit_head::Column::PrunedSeq, Expr::value(last.seq))
        .col_expr(audit_head::Column::PrunedHash, Expr::value(last.hash.clone()))
        .filter(audit_head::Column::Id.eq(1))
        .exec(connection)
        .await?;
    Entity::delete_many().filter(Column::Seq.lte(last.seq)).exec(connection).await?;
    Ok(())
}
