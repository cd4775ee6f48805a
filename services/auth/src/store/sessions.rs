//! Sessions.

use quire_clock::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
};

use super::session::{Column, Entity, Model};
use super::user;

pub async fn add_session(connection: &impl ConnectionTrait, session: Model) -> Result<(), DbErr> {
    Entity::insert(session.into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

pub async fn session_by_id(connection: &impl ConnectionTrait, id: &str) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).one(connection).await
}

/// A session and its user, in one query.
pub async fn session_and_user(
    connection: &impl ConnectionTrait,
    id: &str,
) -> Result<Option<(Model, user::Model)>, DbErr> {
    let found = Entity::find_by_id(id).find_also_related(user::Entity).one(connection).await?;
    Ok(found.and_then(|(session, user)| Some((session, user?))))
}

/// Begins the next generation of a session if `generation` is the present one and the session is active.
/// Of any number of callers exactly one succeeds.
pub async fn rotate_session(
    connection: &impl ConnectionTrait,
    id: &str,
    generation: i64,
    signing_kid: &str,
    now: Timestamp,
    idle_expires_at: Timestamp,
) -> Result<Option<Model>, DbErr> {
    let rotated = Entity::update_many()
        .col_expr(Column::Generation, Expr::col(Column::Generation).add(1_i64))
        // Whoever holds the token of this generation has received it.
        .col_expr(Column::ConfirmedGeneration, Expr::value(generation))
        .col_expr(Column::SigningKid, Expr::value(signing_kid))
        .col_expr(Column::RotatedAt, Expr::value(now.unix_micros()))
        .col_expr(Column::LastUsedAt, Expr::value(now.unix_micros()))
        .col_expr(Column::IdleExpiresAt, Expr::value(idle_expires_at.unix_micros()))
        .filter(Column::Id.eq(id))
        .filter(Column::Generation.eq(generation))
        .filter(active(now))
        .exec_with_returning(connection)
        .await?;
    Ok(rotated.into_iter().next())
}

/// Notes that a generation was seen in use.
pub async fn confirm_generation(
    connection: &impl ConnectionTrait,
    id: &str,
    generation: i64,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::ConfirmedGeneration, Expr::value(generation))
        .filter(Column::Id.eq(id))
        .filter(Column::Generation.gte(generation))
        .filter(Column::ConfirmedGeneration.lt(generation))
        .exec(connection)
        .await?;
    Ok(())
}

/// Ends a session for good; `seq` is the place of that in the audit log. `false` if it was ended before.
pub async fn revoke_session(
    connection: &impl ConnectionTrait,
    id: &str,
    reason: &str,
    seq: i64,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let revoked = Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(now.unix_micros()))
        .col_expr(Column::RevokeReason, Expr::value(reason))
        .col_expr(Column::RevokedSeq, Expr::value(seq))
        .filter(Column::Id.eq(id))
        .filter(Column::RevokedAt.is_null())
        .exec(connection)
        .await?;
    Ok(revoked.rows_affected == 1)
}

/// Gives an active session of a user another name.
pub async fn rename_session(
    connection: &impl ConnectionTrait,
    id: &str,
    user_id: &str,
    name: &str,
    now: Timestamp,
) -> Result<Option<Model>, DbErr> {
    let renamed = Entity::update_many()
        .col_expr(Column::Name, Expr::value(name))
        .filter(Column::Id.eq(id))
        .filter(Column::UserId.eq(user_id))
        .filter(active(now))
        .exec_with_returning(connection)
        .await?;
    Ok(renamed.into_iter().next())
}

/// The active sessions of a user, newest first.
pub async fn active_sessions(
    connection: &impl ConnectionTrait,
    user_id: &str,
    now: Timestamp,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::UserId.eq(user_id))
        .filter(active(now))
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .all(connection)
        .await
}

/// Sessions revoked in `(after, up_to]` of the audit log, and not before `since`.
pub async fn revoked_sessions(
    connection: &impl ConnectionTrait,
    after: i64,
    up_to: i64,
    since: Timestamp,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::RevokedSeq.gt(after))
        .filter(Column::RevokedSeq.lte(up_to))
        .filter(Column::RevokedAt.gt(since.unix_micros()))
        .order_by_asc(Column::RevokedSeq)
        .all(connection)
        .await
}

/// Deletes sessions whose absolute end lies before a moment.
pub async fn forget_sessions(connection: &impl ConnectionTrait, before: Timestamp) -> Result<u64, DbErr> {
    let gone = Entity::delete_many()
        .filter(Column::AbsoluteExpiresAt.lt(before.unix_micros()))
        .exec(connection)
        .await?;
    Ok(gone.rows_affected)
}

fn active(now: Timestamp) -> Condition {
    Condition::all()
        .add(Column::RevokedAt.is_null())
        .add(Column::IdleExpiresAt.gt(now.unix_micros()))
        .add(Column::AbsoluteExpiresAt.gt(now.unix_micros()))
}

impl Model {
    /// Whether the session may still be used.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at() > now
    }

    /// When it ends if nobody uses it.
    pub fn expires_at(&self) -> Timestamp {
        let idle = Timestamp::from_unix_micros(self.idle_expires_at);
        std::cmp::min(idle, Timestamp::from_unix_micros(self.absolute_expires_at))
    }
}
