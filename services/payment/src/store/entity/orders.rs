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
    pub method: Method,
    pub checkout_session_id: Option<String>,
    pub checkout_url: Option<String>,
    pub intent_id: Option<String>,
    /// The payment that paid it, or that was found wrong.
    pub provider_payment_id: Option<String>,
    pub job_id: Option<String>,
    pub created_at: i64,
    pub paid_at: Option<i64>,
    pub expires_at: i64,
    /// When the sweep last asked the provider about it, or when it was created.
    pub checked_at: i64,
    /// Of the document, as quoted.
    pub language: String,
    /// Which price table the quote was made from.
    pub price_version: String,
    /// Of the delivered file.
    pub delivered_pages: i32,
    /// What went back of its own payment.
    pub refunded_minor: i64,
    /// A dispute of one of its payments is open.
    pub disputed: bool,
    /// Number and hash of its newest audit row.
    pub audit_seq: i64,
    pub audit_hash: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// How an order is paid.
#[derive(Copy, Clone, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Method {
    /// On the provider's page.
    #[sea_orm(string_value = "checkout")]
    Checkout,
    /// By a payment intent, on a page of the customer's client.
    #[sea_orm(string_value = "intent")]
    Intent,
}

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

#[cfg(test)]
pub(crate) mod tests {
    use quire_clock::World;

    use super::*;

    /// An open order of twelve pages for 6.00 EUR.
    pub(crate) fn order(world: &World) -> Model {
        Model {
            id: world.id(),
            document_id: world.id(),
            user_id: "ada".to_owned(),
            pages: 12,
            unit_minor: 50,
            amount_minor: 600,
            currency: "EUR".to_owned(),
            status: OrderStatus::Open,
            provider_request: String::new(),
            method: Method::Checkout,
            checkout_session_id: None,
            checkout_url: None,
            intent_id: None,
            provider_payment_id: None,
            job_id: None,
            created_at: 0,
            paid_at: None,
            expires_at: 0,
            checked_at: 0,
            language: "en".to_owned(),
            price_version: String::new(),
            delivered_pages: 0,
            refunded_minor: 0,
            disputed: false,
            audit_seq: 0,
            audit_hash: String::new(),
        }
    }
}
