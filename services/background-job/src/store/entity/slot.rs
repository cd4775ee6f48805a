//! A user's place in the queue: when a job of theirs was last taken. The row is locked while one is.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "user_slots")]
pub struct Model {
    /// Empty: the row for all users together.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// Database time.
    pub served_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
