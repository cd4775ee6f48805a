//! Double-entry bookkeeping: the rows of one event key sum to zero.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ledger_entries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_key: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub account: String,
    pub order_id: String,
    /// Debit positive, credit negative.
    pub amount_minor: i64,
    pub currency: String,
    pub at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
