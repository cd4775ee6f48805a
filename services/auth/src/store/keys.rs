//! Signing keys.

use quire_clock::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder};

use super::signing_key::{Column, Entity, Model};

/// All keys, oldest first.
pub async fn signing_keys(connection: &impl ConnectionTrait) -> Result<Vec<Model>, DbErr> {
    Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Kid).all(connection).await
}

pub async fn add_signing_key(connection: &impl ConnectionTrait, key: Model) -> Result<(), DbErr> {
    Entity::insert(key.into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

/// The next state of a key, and the moment that goes with it.
pub enum KeyStep {
    Activate,
    Retire,
    /// Forgets the private key too.
    Revoke,
}

pub async fn advance_key(
    connection: &impl ConnectionTrait,
    kid: &str,
    step: KeyStep,
    now: Timestamp,
) -> Result<(), DbErr> {
    let now = now.unix_micros();
    let update = match step {
        KeyStep::Activate => Entity::update_many()
            .col_expr(Column::State, Expr::value("active"))
            .col_expr(Column::ActivateAt, Expr::value(now)),
        KeyStep::Retire => Entity::update_many()
            .col_expr(Column::State, Expr::value("retired"))
            .col_expr(Column::RetiredAt, Expr::value(now)),
        KeyStep::Revoke => Entity::update_many()
            .col_expr(Column::State, Expr::value("revoked"))
            .col_expr(Column::SealedPrivateKey, Expr::value(""))
            .col_expr(Column::RevokedAt, Expr::value(now)),
    };
    update.filter(Column::Kid.eq(kid)).exec(connection).await?;
    Ok(())
}

/// Replaces the sealed form of a private key.
pub async fn reseal_key(connection: &impl ConnectionTrait, kid: &str, sealed: &str) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::SealedPrivateKey, Expr::value(sealed))
        .filter(Column::Kid.eq(kid))
        .exec(connection)
        .await?;
    Ok(())
}
