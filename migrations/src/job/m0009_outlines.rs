//! Jobs that only plan, and where a step comes from that another job has done.

use sea_orm_migration::prelude::*;

use crate::run;

pub(super) struct Outlines;

impl MigrationName for Outlines {
    fn name(&self) -> &str {
        "job_0009_outlines"
    }
}

const UP: [&str; 5] = [
    "ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'document'",
    // The id of the job; empty: the step is the job's own.
    "ALTER TABLE job_steps ADD COLUMN taken_from TEXT NOT NULL DEFAULT ''",
    // A second request answers the job that is still open.
    "DROP INDEX jobs_operator_open",
    "CREATE UNIQUE INDEX jobs_unpaid_open ON jobs (document_id, kind) WHERE order_id IS NULL AND finished_at IS NULL",
    "CREATE INDEX jobs_of_document ON jobs (document_id, created_at)",
];

const DOWN: [&str; 5] = [
    "DROP INDEX jobs_of_document",
    "DROP INDEX jobs_unpaid_open",
    "CREATE UNIQUE INDEX jobs_operator_open ON jobs (document_id) WHERE order_id IS NULL AND finished_at IS NULL",
    "ALTER TABLE job_steps DROP COLUMN taken_from",
    "ALTER TABLE jobs DROP COLUMN kind",
];

#[async_trait::async_trait]
impl MigrationTrait for Outlines {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &DOWN).await
    }
}
