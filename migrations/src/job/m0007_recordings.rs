//! What models were asked and what they answered, so that a job can be written once more without them.

use sea_orm_migration::prelude::*;

use crate::run;

pub struct Recordings;

impl MigrationName for Recordings {
    fn name(&self) -> &str {
        "job_0007_recordings"
    }
}

/// `call_id` is that of the ledger, whose row goes when the call was refused.
const TABLES: [&str; 2] = [
    "CREATE TABLE job_recordings (
        call_id TEXT NOT NULL PRIMARY KEY,
        job_id TEXT NOT NULL,
        ordinal BIGINT NOT NULL,
        step_key TEXT NOT NULL,
        epoch BIGINT NOT NULL,
        request_hash TEXT NOT NULL,
        answer TEXT NOT NULL,
        ending TEXT NOT NULL,
        input_tokens BIGINT,
        output_tokens BIGINT
    )",
    "CREATE UNIQUE INDEX job_recordings_in_order ON job_recordings (job_id, ordinal)",
];

#[async_trait::async_trait]
impl MigrationTrait for Recordings {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &TABLES).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("DROP TABLE job_recordings").await?;
        Ok(())
    }
}
