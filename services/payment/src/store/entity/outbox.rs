//! What must still be told to others. The intent is unique: a second wish for the same thing is no row.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub intent: String,
    pub order_id: String,
    pub document_id: String,
    pub kind: TaskKind,
    pub payload: String,
    pub attempts: i32,
    pub next_at: i64,
    pub lease_until: i64,
    pub lease_epoch: i64,
    pub created_at: i64,
    /// How many idempotency keys were used up before the present one.
    pub key_round: i32,
    pub done_at: Option<i64>,
    pub last_error: String,
    /// Given up; an operator may redrive it.
    pub dead_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

#[derive(Copy, Clone, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum TaskKind {
    #[sea_orm(string_value = "start_job")]
    StartJob,
    #[sea_orm(string_value = "release_document")]
    ReleaseDocument,
    #[sea_orm(string_value = "refund")]
    Refund,
    #[sea_orm(string_value = "cancel_job")]
    CancelJob,
}
