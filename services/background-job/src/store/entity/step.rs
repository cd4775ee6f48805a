//! A checkpoint.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, Default, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "job_steps")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub job_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub step_key: String,
    pub input_hash: String,
    pub status: String,
    pub epoch: i64,
    /// JSON; what it holds depends on the step and its status.
    pub content: Option<String>,
    pub writer: String,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub done_at: Option<i64>,
    /// Who stands in for the writer that was ordered; empty: nobody.
    pub fallback: String,
    /// When the present writer refused for the first time; database time.
    pub refused_at: Option<i64>,
    /// The job that has done it or begun it; empty: its own.
    pub taken_from: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
