//! Indexes for what is asked today.

use sea_orm_migration::prelude::*;

use crate::run;

pub(super) struct Indexes;

impl MigrationName for Indexes {
    fn name(&self) -> &str {
        "job_0011_indexes"
    }
}

const UP: [&str; 4] = [
    // Nothing asks by the time alone any more. SQLite took it to find the few below, and read every open job.
    "DROP INDEX jobs_open",
    "DROP INDEX jobs_broken",
    // Those at whose work a process died. SQLite searches by a column only, not by an index' condition.
    "CREATE INDEX jobs_broken ON jobs (crash_count) WHERE finished_at IS NULL AND crash_count > 0",
    // An operator's list.
    "CREATE INDEX jobs_newest ON jobs (created_at, id)",
];

const DOWN: [&str; 4] = [
    "DROP INDEX jobs_newest",
    "DROP INDEX jobs_broken",
    "CREATE INDEX jobs_broken ON jobs (id) WHERE finished_at IS NULL AND crash_count > 0",
    "CREATE INDEX jobs_open ON jobs (run_at) WHERE finished_at IS NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Indexes {
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
