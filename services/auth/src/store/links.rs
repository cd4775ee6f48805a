//! Magic links.

use quire_clock::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::magic_link::{Column, Entity, Model};

/// Outstanding links per address. More of them would not help anybody who reads the mail.
const MAX_OPEN_LINKS: usize = 3;

/// Adds a link, and voids all but the newest three of its address.
pub async fn add_link(connection: &impl ConnectionTrait, link: Model, now: Timestamp) -> Result<(), DbErr> {
    let email = link.email.clone();
    Entity::insert(link.into_active_model()).exec_without_returning(connection).await?;
    let open: Vec<String> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Email.eq(&email))
        .filter(open(now))
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .into_tuple()
        .all(connection)
        .await?;
    let surplus: Vec<String> = open.into_iter().skip(MAX_OPEN_LINKS).collect();
    if !surplus.is_empty() {
        void(connection, Condition::all().add(Column::Id.is_in(surplus)), now).await?;
    }
    Ok(())
}

/// Spends the link of a token, if the device that asked for it is the one that comes. `None` if it was used, has
/// expired, never was, or was asked for by another device, which burns nothing.
pub async fn spend_link(
    connection: &impl ConnectionTrait,
    token_hash: &str,
    verifier_hash: &str,
    now: Timestamp,
) -> Result<Option<Model>, DbErr> {
    let spent = Entity::update_many()
        .col_expr(Column::UsedAt, Expr::value(now.unix_micros()))
        .filter(Column::TokenHash.eq(token_hash))
        .filter(Column::VerifierHash.eq(verifier_hash))
        .filter(open(now))
        .exec_with_returning(connection)
        .await?;
    Ok(spent.into_iter().next())
}

/// Whether a token belongs to a link that another device could still use.
pub async fn is_open_elsewhere(
    connection: &impl ConnectionTrait,
    token_hash: &str,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let link =
        Entity::find().filter(Column::TokenHash.eq(token_hash)).filter(open(now)).one(connection).await?;
    Ok(link.is_some())
}

/// Counts one code entered on a device, before it is compared with anything: the device's open links, with this
/// try counted. One that has used up `tries` is no longer open.
pub async fn count_try(
    connection: &impl ConnectionTrait,
    verifier_hash: &str,
    tries: i64,
    now: Timestamp,
) -> Result<Vec<Model>, DbErr> {
    Entity::update_many()
        .col_expr(Column::Tries, Expr::col(Column::Tries).add(1_i64))
        .filter(Column::VerifierHash.eq(verifier_hash))
        .filter(Column::Tries.lt(tries))
        .filter(open(now))
        .exec_with_returning(connection)
        .await
}

/// Voids links by their ids.
pub async fn void_links_of(
    connection: &impl ConnectionTrait,
    ids: Vec<String>,
    now: Timestamp,
) -> Result<(), DbErr> {
    void(connection, Condition::all().add(Column::Id.is_in(ids)), now).await
}

/// Voids every other link of the address: somebody who reads its mail is signed in.
pub async fn void_links(connection: &impl ConnectionTrait, email: &str, now: Timestamp) -> Result<(), DbErr> {
    void(connection, Condition::all().add(Column::Email.eq(email)), now).await
}

/// Deletes what expired before a moment.
pub async fn forget_links(connection: &impl ConnectionTrait, before: Timestamp) -> Result<u64, DbErr> {
    let gone =
        Entity::delete_many().filter(Column::ExpiresAt.lt(before.unix_micros())).exec(connection).await?;
    Ok(gone.rows_affected)
}

async fn void(connection: &impl ConnectionTrait, which: Condition, now: Timestamp) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::UsedAt, Expr::value(now.unix_micros()))
        .filter(which)
        .filter(Column::UsedAt.is_null())
        .exec(connection)
        .await?;
    Ok(())
}

fn open(now: Timestamp) -> Condition {
    Condition::all().add(Column::UsedAt.is_null()).add(Column::ExpiresAt.gt(now.unix_micros()))
}
