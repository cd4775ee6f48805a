//! Statements on auth's tables. Each is safe under concurrent callers by itself: a conditional update whose
//! affected rows are checked, or an insert under a unique constraint.

mod entity;

use quire_clock::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
};

pub use entity::{audit_event, magic_link, session, signing_key, user};

/// Outstanding links per address. More of them would not help anybody who reads the mail.
const MAX_OPEN_LINKS: u64 = 3;

/// Adds a link, forgets those of the address that have expired, and voids all but the newest three.
pub async fn add_link(
    connection: &impl ConnectionTrait,
    link: magic_link::Model,
    now: Timestamp,
) -> Result<(), DbErr> {
    use magic_link::{Column, Entity};
    let email = link.email.clone();
    Entity::delete_many()
        .filter(Column::Email.eq(&email))
        .filter(Column::ExpiresAt.lte(now.unix_micros()))
        .exec(connection)
        .await?;
    Entity::insert(link.into_active_model()).exec_without_returning(connection).await?;
    let open: Vec<String> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Email.eq(&email))
        .filter(Column::UsedAt.is_null())
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .into_tuple()
        .all(connection)
        .await?;
    let surplus: Vec<String> = open.into_iter().skip(MAX_OPEN_LINKS as usize).collect();
    if !surplus.is_empty() {
        Entity::update_many()
            .col_expr(Column::UsedAt, Expr::value(now.unix_micros()))
            .filter(Column::Id.is_in(surplus))
            .exec(connection)
            .await?;
    }
    Ok(())
}

/// The address a token was mailed to, whether or not the link still works.
pub async fn email_of_link(
    connection: &impl ConnectionTrait,
    token_hash: &str,
) -> Result<Option<String>, DbErr> {
    use magic_link::{Column, Entity};
    let link = Entity::find().filter(Column::TokenHash.eq(token_hash)).one(connection).await?;
    Ok(link.map(|link| link.email))
}

/// Spends a link. `false` if it was used, has expired or never was.
pub async fn spend_link(
    connection: &impl ConnectionTrait,
    token_hash: &str,
    now: Timestamp,
) -> Result<bool, DbErr> {
    use magic_link::{Column, Entity};
    let spent = Entity::update_many()
        .col_expr(Column::UsedAt, Expr::value(now.unix_micros()))
        .filter(Column::TokenHash.eq(token_hash))
        .filter(Column::UsedAt.is_null())
        .filter(Column::ExpiresAt.gt(now.unix_micros()))
        .exec(connection)
        .await?;
    Ok(spent.rows_affected == 1)
}

/// Voids every other link of the address: somebody who reads its mail is signed in.
pub async fn void_links(connection: &impl ConnectionTrait, email: &str, now: Timestamp) -> Result<(), DbErr> {
    use magic_link::{Column, Entity};
    Entity::update_many()
        .col_expr(Column::UsedAt, Expr::value(now.unix_micros()))
        .filter(Column::Email.eq(email))
        .filter(Column::UsedAt.is_null())
        .exec(connection)
        .await?;
    Ok(())
}

/// The user of that address, made if there is none, and locked until the transaction ends: sign-ins of one
/// address happen one after the other.
pub async fn sign_in_user(
    connection: &impl ConnectionTrait,
    fresh: user::Model,
    now: Timestamp,
) -> Result<user::Model, DbErr> {
    use user::{Column, Entity};
    let email = fresh.email.clone();
    Entity::insert(fresh.into_active_model())
        .on_conflict(OnConflict::column(Column::Email).do_nothing().to_owned())
        .exec_without_returning(connection)
        .await?;
    Entity::update_many()
        .col_expr(Column::LastSignInAt, Expr::value(now.unix_micros()))
        .filter(Column::Email.eq(&email))
        .exec(connection)
        .await?;
    let user = Entity::find().filter(Column::Email.eq(&email)).one(connection).await?;
    user.ok_or_else(|| DbErr::RecordNotFound("the user that was just made".to_owned()))
}

pub async fn user_by_email(
    connection: &impl ConnectionTrait,
    email: &str,
) -> Result<Option<user::Model>, DbErr> {
    user::Entity::find().filter(user::Column::Email.eq(email)).one(connection).await
}

pub async fn user_by_id(connection: &impl ConnectionTrait, id: &str) -> Result<Option<user::Model>, DbErr> {
    user::Entity::find_by_id(id).one(connection).await
}

pub async fn add_session(connection: &impl ConnectionTrait, session: session::Model) -> Result<(), DbErr> {
    session::Entity::insert(session.into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

pub async fn session_by_id(
    connection: &impl ConnectionTrait,
    id: &str,
) -> Result<Option<session::Model>, DbErr> {
    session::Entity::find_by_id(id).one(connection).await
}

/// Begins the next generation of a session if `generation` is the present one and the session is active.
/// Of any number of callers exactly one succeeds.
pub async fn rotate_session(
    connection: &impl ConnectionTrait,
    id: &str,
    generation: i64,
    now: Timestamp,
    idle_expires_at: Timestamp,
) -> Result<bool, DbErr> {
    use session::{Column, Entity};
    let rotated = Entity::update_many()
        .col_expr(Column::Generation, Expr::col(Column::Generation).add(1_i64))
        .col_expr(Column::RotatedAt, Expr::value(now.unix_micros()))
        .col_expr(Column::LastUsedAt, Expr::value(now.unix_micros()))
        .col_expr(Column::IdleExpiresAt, Expr::value(idle_expires_at.unix_micros()))
        .filter(Column::Id.eq(id))
        .filter(Column::Generation.eq(generation))
        .filter(active(now))
        .exec(connection)
        .await?;
    Ok(rotated.rows_affected == 1)
}

/// Ends a session for good. `false` if it was ended before.
pub async fn revoke_session(
    connection: &impl ConnectionTrait,
    id: &str,
    reason: &str,
    now: Timestamp,
) -> Result<bool, DbErr> {
    use session::{Column, Entity};
    let revoked = Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(now.unix_micros()))
        .col_expr(Column::RevokeReason, Expr::value(reason))
        .filter(Column::Id.eq(id))
        .filter(Column::RevokedAt.is_null())
        .exec(connection)
        .await?;
    Ok(revoked.rows_affected == 1)
}

/// The active sessions of a user, newest first.
pub async fn active_sessions(
    connection: &impl ConnectionTrait,
    user_id: &str,
    now: Timestamp,
) -> Result<Vec<session::Model>, DbErr> {
    use session::{Column, Entity};
    Entity::find()
        .filter(Column::UserId.eq(user_id))
        .filter(active(now))
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .all(connection)
        .await
}

pub async fn signing_keys(connection: &impl ConnectionTrait) -> Result<Vec<signing_key::Model>, DbErr> {
    signing_key::Entity::find().order_by_asc(signing_key::Column::CreatedAt).all(connection).await
}

pub async fn add_signing_key(
    connection: &impl ConnectionTrait,
    key: signing_key::Model,
) -> Result<(), DbErr> {
    signing_key::Entity::insert(key.into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

pub async fn add_event(connection: &impl ConnectionTrait, event: audit_event::Model) -> Result<(), DbErr> {
    audit_event::Entity::insert(event.into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

/// Events newest first, of one user or of everybody, older than `before`.
pub async fn events(
    connection: &impl ConnectionTrait,
    user_id: Option<&str>,
    before: Option<&(i64, String)>,
    limit: u64,
) -> Result<Vec<audit_event::Model>, DbErr> {
    use audit_event::{Column, Entity};
    let mut query = Entity::find();
    if let Some(user_id) = user_id {
        query = query.filter(Column::UserId.eq(user_id));
    }
    if let Some((at, id)) = before {
        let same_moment = Condition::all().add(Column::At.eq(*at)).add(Column::Id.lt(id));
        query = query.filter(Condition::any().add(Column::At.lt(*at)).add(same_moment));
    }
    query.order_by_desc(Column::At).order_by_desc(Column::Id).limit(limit).all(connection).await
}

fn active(now: Timestamp) -> Condition {
    use session::Column;
    Condition::all()
        .add(Column::RevokedAt.is_null())
        .add(Column::IdleExpiresAt.gt(now.unix_micros()))
        .add(Column::AbsoluteExpiresAt.gt(now.unix_micros()))
}

impl session::Model {
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
