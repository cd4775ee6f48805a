//! A line of the audit log.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub at: i64,
    pub action: String,
    pub outcome: String,
    pub reason: String,
    pub user_id: String,
    pub session_id: String,
    pub client_address: String,
    pub request_id: String,
    /// Place in the log, without gaps.
    pub seq: i64,
    /// Who did it, if not the user it is about.
    pub actor_id: String,
    /// HMAC over the row and the hash before it, in hexadecimal; empty for rows from before the chain.
    pub hash: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
