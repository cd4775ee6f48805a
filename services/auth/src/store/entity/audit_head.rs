//! The end of the audit log: one row, which every change locks first.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_head")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// Of the last event.
    pub seq: i64,
    /// Of the last event; empty before the first chained one.
    pub hash: String,
    /// The first chained event is the one after this.
    pub chain_from: i64,
    /// Events up to here were deleted by retention.
    pub pruned_seq: i64,
    /// The hash of the last event that was deleted.
    pub pruned_hash: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
