//! One migrator per bounded context, each with its own bookkeeping table: services never share a table, so
//! their histories are independent too.

pub mod auth;
pub mod document;
mod idempotency;
pub mod job;
pub mod payment;
mod plain;

pub use auth::AuthMigrator;
pub use document::DocumentMigrator;
pub use job::JobMigrator;
pub use payment::PaymentMigrator;

use sea_orm_migration::prelude::{DbErr, SchemaManager};
use sea_orm_migration::sea_orm::ConnectionTrait as _;

/// Runs statements that both databases read alike, one after the other.
async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    for statement in statements {
        manager.get_connection().execute_unprepared(statement).await?;
    }
    Ok(())
}
