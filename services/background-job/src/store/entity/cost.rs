//! One call of a model, and what it costs. Amounts are millionths of a US dollar.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "cost_ledger")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub job_id: String,
    pub user_id: String,
    /// Of the attempt that made the call.
    pub epoch: i64,
    pub step_key: String,
    pub model: String,
    /// `open`, `settled`, `estimated` or `wasted`.
    pub status: String,
    /// The most that the call can cost.
    pub reserved_micro: i64,
    /// What it cost; of an open one, as far as is known.
    pub cost_micro: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    /// Of a million tokens.
    pub input_price_micro: i64,
    pub output_price_micro: i64,
    /// Database time.
    pub started_at: i64,
    /// Database time.
    pub ended_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
