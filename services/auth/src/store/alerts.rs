//! Mails to owners that wait to be sent.

use quire_clock::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel,
    QueryFilter, QueryOrder, QuerySelect,
};

use super::alert::{ActiveModel, Column, Entity, Model};

pub async fn add_alert(connection: &impl ConnectionTrait, alert: Model) -> Result<(), DbErr> {
    Entity::insert(alert.into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

/// Whether one could be sent now.
pub async fn is_alert_due(connection: &impl ConnectionTrait, now: Timestamp) -> Result<bool, DbErr> {
    Ok(Entity::find().filter(due(now)).one(connection).await?.is_some())
}

/// Takes alerts that are due, each under a lease with a new epoch, and counts a try of each.
pub async fn claim_alerts(
    connection: &impl ConnectionTrait,
    limit: u64,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<Vec<Model>, DbErr> {
    let ids: Vec<String> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(due(now))
        .order_by_asc(Column::NextAt)
        .order_by_asc(Column::Id)
        .limit(limit)
        .into_tuple()
        .all(connection)
        .await?;
    Entity::update_many()
        .col_expr(Column::LeaseUntil, Expr::value(lease_until.unix_micros()))
        .col_expr(Column::LeaseEpoch, Expr::col(Column::LeaseEpoch).add(1_i64))
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1_i64))
        .filter(Column::Id.is_in(ids))
        .exec_with_returning(connection)
        .await
}

/// Forgets an alert that was sent. `false`: the lease was lost, and somebody else has it.
pub async fn finish_alert(connection: &impl ConnectionTrait, alert: &Model) -> Result<bool, DbErr> {
    let gone = Entity::delete_many().filter(held(alert)).exec(connection).await?;
    Ok(gone.rows_affected == 1)
}

/// Gives an alert back after a failure, to be tried again at `next_at`; `None`: never. `false` as in
/// [`finish_alert`].
pub async fn postpone_alert(
    connection: &impl ConnectionTrait,
    alert: &Model,
    error: &str,
    next_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let mut columns =
        ActiveModel { lease_until: Set(0), last_error: Set(error.to_owned()), ..Default::default() };
    match next_at {
        Some(next_at) => columns.next_at = Set(next_at.unix_micros()),
        None => columns.dead_at = Set(Some(now.unix_micros())),
    }
    let changed = Entity::update_many().set(columns).filter(held(alert)).exec(connection).await?;
    Ok(changed.rows_affected == 1)
}

/// Deletes what was given up before a moment.
pub async fn forget_alerts(connection: &impl ConnectionTrait, before: Timestamp) -> Result<u64, DbErr> {
    let gone = Entity::delete_many().filter(Column::DeadAt.lt(before.unix_micros())).exec(connection).await?;
    Ok(gone.rows_affected)
}

fn due(now: Timestamp) -> Condition {
    let now = now.unix_micros();
    Condition::all()
        .add(Column::DeadAt.is_null())
        .add(Column::NextAt.lte(now))
        .add(Column::LeaseUntil.lte(now))
}

fn held(alert: &Model) -> Condition {
    Condition::all()
        .add(Column::Id.eq(&alert.id))
        .add(Column::LeaseEpoch.eq(alert.lease_epoch))
        .add(Column::DeadAt.is_null())
}
