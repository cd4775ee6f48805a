//! Tables of the job context.

mod m0001_jobs;
mod m0002_stalls;
mod m0003_parts;
mod m0004_operations;
mod m0005_money;
mod m0006_claims;
mod m0007_recordings;
mod m0008_fallback;
mod m0009_outlines;
mod m0010_purpose;
mod m0011_indexes;

use sea_orm_migration::prelude::*;

pub struct JobMigrator;

#[async_trait::async_trait]
impl MigratorTrait for JobMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_jobs::JOBS),
            Box::new(m0002_stalls::STALLS),
            Box::new(m0003_parts::PARTS),
            Box::new(m0004_operations::OPERATIONS),
            Box::new(m0005_money::MONEY),
            Box::new(m0006_claims::CLAIMS),
            Box::new(m0007_recordings::RECORDINGS),
            Box::new(m0008_fallback::FALLBACK),
            Box::new(m0009_outlines::OUTLINES),
            Box::new(m0010_purpose::PURPOSE),
            Box::new(m0011_indexes::INDEXES),
        ]
    }

    fn migration_table_name() -> DynIden {
        "job_migrations".into_iden()
    }
}
