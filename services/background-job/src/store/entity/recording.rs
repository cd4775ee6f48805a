//! What a model was asked in one call, and what it answered.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "job_recordings")]
pub struct Model {
    /// That of the ledger.
    #[sea_orm(primary_key, auto_increment = false)]
    pub call_id: String,
    pub job_id: String,
    /// Counted from 1 within the job, in the order of the calls.
    pub ordinal: i64,
    pub step_key: String,
    pub epoch: i64,
    /// SHA-256 of everything that the answer depends on, hex.
    pub request_hash: String,
    pub answer: String,
    /// JSON of [`crate::recordings::Ending`].
    pub ending: String,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
