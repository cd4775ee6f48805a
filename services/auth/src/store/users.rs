//! Users.

use quire_clock::Timestamp;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};

use super::user::{Column, Entity, Model};

/// The user of that address, made if there is none.
pub async fn sign_in_user(connection: &impl ConnectionTrait, fresh: Model) -> Result<Model, DbErr> {
    let (email, now) = (fresh.email.clone(), fresh.last_sign_in_at);
    Entity::insert(fresh.into_active_model())
        .on_conflict(OnConflict::column(Column::Email).do_nothing().to_owned())
        .exec_without_returning(connection)
        .await?;
    let users = Entity::update_many()
        .col_expr(Column::LastSignInAt, Expr::value(now))
        .filter(Column::Email.eq(&email))
        .exec_with_returning(connection)
        .await?;
    users.into_iter().next().ok_or_else(|| DbErr::RecordNotFound("the user that was just made".to_owned()))
}

pub async fn user_by_email(connection: &impl ConnectionTrait, email: &str) -> Result<Option<Model>, DbErr> {
    Entity::find().filter(Column::Email.eq(email)).one(connection).await
}

pub async fn user_by_id(connection: &impl ConnectionTrait, id: &str) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).one(connection).await
}

/// Users newest first, with ids before `before`.
pub async fn users(
    connection: &impl ConnectionTrait,
    before: Option<&str>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let mut query = Entity::find();
    if let Some(before) = before {
        query = query.filter(Column::Id.lt(before));
    }
    query.order_by_desc(Column::Id).limit(limit).all(connection).await
}

/// Blocks a user, or takes the block back. `None` if there is no such user or it is so already.
pub async fn set_blocked(
    connection: &impl ConnectionTrait,
    id: &str,
    blocked_at: Option<Timestamp>,
    seq: i64,
) -> Result<Option<Model>, DbErr> {
    let before =
        if blocked_at.is_some() { Column::BlockedAt.is_null() } else { Column::BlockedAt.is_not_null() };
    let changed = Entity::update_many()
        .col_expr(Column::BlockedAt, Expr::value(blocked_at.map(|moment| moment.unix_micros())))
        .col_expr(Column::StatusSeq, Expr::value(seq))
        .filter(Column::Id.eq(id))
        .filter(before)
        .exec_with_returning(connection)
        .await?;
    Ok(changed.into_iter().next())
}

/// Users blocked or unblocked in `(after, up_to]` of the audit log.
pub async fn status_changes(
    connection: &impl ConnectionTrait,
    after: i64,
    up_to: i64,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::StatusSeq.gt(after))
        .filter(Column::StatusSeq.lte(up_to))
        .order_by_asc(Column::StatusSeq)
        .all(connection)
        .await
}
