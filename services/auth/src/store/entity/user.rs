//! A person who signed in at least once.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Trimmed and in lower case.
    pub email: String,
    pub created_at: i64,
    pub last_sign_in_at: i64,
    pub blocked_at: Option<i64>,
    /// Place in the audit log of the last block or unblock; 0 if there was none.
    pub status_seq: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
