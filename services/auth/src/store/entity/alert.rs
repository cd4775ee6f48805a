//! A mail to the owner of a session whose refresh token came back. It waits to be sent, and is deleted once it has
//! left.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "alerts")]
pub struct Model {
    /// Also names the mail itself: one that is sent twice can be recognised.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub user_id: String,
    pub session_id: String,
    pub happened_at: i64,
    /// Of the call that brought the token back.
    pub client_address: String,
    pub user_agent: String,
    pub request_id: String,
    /// Tries begun so far.
    pub attempts: i64,
    /// Not before.
    pub next_at: i64,
    /// Until then it is with whoever claimed it last.
    pub lease_until: i64,
    /// Grows with every claim: whoever lost its lease changes nothing any more.
    pub lease_epoch: i64,
    /// Of the last try, without any address.
    pub last_error: String,
    /// When it was given up.
    pub dead_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
