//! One row for every change of an order.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub order_id: String,
    pub from_status: String,
    pub to_status: String,
    /// The event, service or task that caused it.
    pub actor: String,
    pub detail: String,
    pub at: i64,
    /// Counted from 1 for each order, without gaps; 0 in rows from before the chain.
    pub seq: i64,
    /// SHA-256, hex, over this row and the hash of the one before.
    pub hash: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
