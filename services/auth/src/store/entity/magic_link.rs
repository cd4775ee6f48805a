//! A mailed link with its code. What opens it is kept only as hashes.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "magic_links")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// SHA-256 in hexadecimal.
    pub token_hash: String,
    /// SHA-256 in hexadecimal of the verifier of the device that asked.
    pub verifier_hash: String,
    /// HMAC-SHA-256 in hexadecimal, bound to the link's id.
    pub code_mac: String,
    /// Codes compared so far.
    pub tries: i64,
    pub email: String,
    pub created_at: i64,
    pub expires_at: i64,
    /// When it was used, or made void by a newer one, by a success or by too many codes.
    pub used_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
