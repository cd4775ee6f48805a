//! Who may write for a job. The row outlives every attempt, because the epoch must never fall.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "job_leases")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub job_id: String,
    pub epoch: i64,
    /// Random at each start of the process; empty: nobody holds the job.
    pub boot_id: String,
    pub worker: String,
    /// Database time.
    pub expires_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
