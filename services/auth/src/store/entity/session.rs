//! A sign-in on one device. Holds nothing that could be replayed as a token.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub user_id: String,
    /// How often the refresh token was traded; the present one carries this number.
    pub generation: i64,
    /// The last generation whose access token was seen in use: its owner has received it.
    pub confirmed_generation: i64,
    /// The key that signed the present generation's refresh token, so that it can be made again byte for byte.
    pub signing_kid: String,
    /// When the present generation began. Revoking does not touch it: only a rotation has a grace.
    pub rotated_at: i64,
    pub created_at: i64,
    pub last_used_at: i64,
    pub idle_expires_at: i64,
    pub absolute_expires_at: i64,
    pub revoked_at: Option<i64>,
    /// See [`crate::sessions::Reason`].
    pub revoke_reason: Option<String>,
    /// Place in the audit log of the revocation.
    pub revoked_seq: Option<i64>,
    pub user_agent: String,
    /// The device, or the name its owner gave.
    pub name: String,
    /// Where the sign-in came from.
    pub client_address: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::user::Entity", from = "Column::UserId", to = "super::user::Column::Id")]
    User,
}

impl Related<super::user::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
