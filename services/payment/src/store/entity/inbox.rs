//! Every verified event of the provider, once.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "inbox_events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: String,
    pub kind: String,
    /// The body as it came. It is JSON, and so text.
    pub payload: String,
    pub sha256: String,
    pub status: InboxStatus,
    pub reason: String,
    pub order_id: Option<String>,
    pub received_at: i64,
    /// The payment that a parked event waits for, if it names no order.
    pub payment_id: Option<String>,
    /// How often applying it failed.
    pub attempts: i32,
    pub next_at: i64,
    pub last_error: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What became of an event.
#[derive(Copy, Clone, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum InboxStatus {
    /// Applying it failed; it is tried again at `next_at`.
    #[sea_orm(string_value = "received")]
    Received,
    /// Waits for its order.
    #[sea_orm(string_value = "parked")]
    Parked,
    #[sea_orm(string_value = "done")]
    Done,
    #[sea_orm(string_value = "ignored")]
    Ignored,
    #[sea_orm(string_value = "quarantined")]
    Quarantined,
    /// Applying it failed too often; an operator may redrive it.
    #[sea_orm(string_value = "dead")]
    Dead,
}
