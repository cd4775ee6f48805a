//! A message that another service must get.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "job_outbox")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub job_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    pub payload: String,
    pub attempts: i32,
    /// Database time.
    pub next_at: i64,
    /// Database time.
    pub leased_until: i64,
    pub done_at: Option<i64>,
    /// When it was given up; database time.
    pub dead_at: Option<i64>,
    /// What its receiver said last.
    pub last_error: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
