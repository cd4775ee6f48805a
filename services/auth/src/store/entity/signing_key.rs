//! A key pair that signs tokens.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub kid: String,
    /// `standby`, `active`, `retired` or `revoked`.
    pub state: String,
    /// The 32 bytes in base64url.
    pub public_key: String,
    /// PKCS #8, sealed with AES-256-GCM: nonce and ciphertext in base64url. Empty once it is revoked.
    pub sealed_private_key: String,
    pub created_at: i64,
    /// When a standby key begins to sign.
    pub activate_at: i64,
    pub retired_at: Option<i64>,
    pub revoked_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
