//! The table as SeaORM sees it; each service's migrations make it in its own database.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub caller: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub route: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// SHA-256 of the request, hex.
    pub request_hash: String,
    /// The id of what the request makes, the same at every try.
    pub resource_id: String,
    /// The answer, Base64; none before there is one.
    pub response: Option<String>,
    /// Counts the tries: only the latest may store an answer.
    pub epoch: i64,
    /// Until then the latest try may still run.
    pub lease_until: i64,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
