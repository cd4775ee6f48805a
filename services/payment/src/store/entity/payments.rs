//! A payment that arrived, and how much of it went back.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payments")]
pub struct Model {
    /// The provider's id of the payment intent.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub order_id: String,
    pub amount_minor: i64,
    /// ISO 4217, upper case.
    pub currency: String,
    /// The account that it was credited to: `sales`, `refunds_due` or `suspense`.
    pub held: String,
    /// What was set aside for refunds in all.
    pub due_minor: i64,
    /// What of that has been sent.
    pub drawn_minor: i64,
    /// The most that the provider's running totals said went back. A refund that failed later is taken off.
    pub seen_minor: i64,
    /// What went back according to the ledger.
    pub refunded_minor: i64,
    /// Postings of refunds so far: the next one's key.
    pub postings: i64,
    pub at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
