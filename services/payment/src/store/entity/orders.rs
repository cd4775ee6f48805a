//! An order: the quote that was locked, and how far its payment is.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "orders")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub document_id: String,
    pub user_id: String,
    pub pages: i32,
    pub unit_minor: i64,
    pub amount_minor: i64,
    /// ISO 4217, upper case.
    pub currency: String,
    pub status: OrderStatus,
    /// The form body of the provider request: a repetition under the same idempotency key must be identical,
    /// even after the settings have changed.
    pub provider_request: String,
    pub checkout_session_id: Option<String>,
    pub checkout_url: Option<String>,
    /// The payment that paid it, or that was found wrong.
    pub provider_payment_id: Option<String>,
    pub job_id: Option<String>,
    pub created_at: i64,
    pub paid_at: Option<i64>,
    pub expires_at: i64,
    /// When the sweep last asked the provider about it, or when it was created.
    pub checked_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Where an order stands. `transition` decides what may follow what.
#[derive(Copy, Clone, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum OrderStatus {
    #[sea_orm(string_value = "open")]
    Open,
    #[sea_orm(string_value = "processing")]
    Processing,
    #[sea_orm(string_value = "paid")]
    Paid,
    #[sea_orm(string_value = "delivered")]
    Delivered,
    #[sea_orm(string_value = "refund_pending")]
    RefundPending,
    #[sea_orm(string_value = "refunded")]
    Refunded,
    #[sea_orm(string_value = "expired")]
    Expired,
    #[sea_orm(string_value = "quarantined")]
    Quarantined,
}

impl OrderStatus {
    /// The statuses of which a document has at most one order: those of the index `orders_live`.
    pub(crate) const LIVE: [Self; 5] =
        [Self::Open, Self::Processing, Self::Paid, Self::Delivered, Self::Quarantined];

    /// The statuses in which the payment is still to come: those of the index `orders_unsettled`.
    pub(crate) const UNSETTLED: [Self; 2] = [Self::Open, Self::Processing];
}
