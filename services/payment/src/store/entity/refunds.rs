//! Money that goes back, or that a customer wants back.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "refunds")]
pub struct Model {
    /// UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// What it is for; unique, so that the same thing is paid back once. Also the idempotency key at the provider.
    pub intent: String,
    pub order_id: String,
    pub user_id: String,
    pub payment_id: String,
    /// Known once the provider has answered or told of it.
    pub provider_refund_id: Option<String>,
    pub amount_minor: i64,
    pub currency: String,
    pub status: RefundStatus,
    /// The customer's words, or the rule that caused it.
    pub reason: String,
    /// The administrator's words, or why it failed.
    pub note: String,
    pub created_at: i64,
    pub decided_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Where a refund stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum RefundStatus {
    /// A customer asked; an administrator decides.
    #[sea_orm(string_value = "requested")]
    Requested,
    #[sea_orm(string_value = "rejected")]
    Rejected,
    /// Decided; the provider is being told, or works on it.
    #[sea_orm(string_value = "pending")]
    Pending,
    #[sea_orm(string_value = "succeeded")]
    Succeeded,
    #[sea_orm(string_value = "failed")]
    Failed,
}
