//! Who stands in for the writer of a step, and since when that one refuses.

use sea_orm_migration::prelude::*;

use crate::run;

pub struct Fallback;

impl MigrationName for Fallback {
    fn name(&self) -> &str {
        "job_0008_fallback"
    }
}

/// `fallback` is empty for the writer that was ordered; `refused_at` is database time.
const COLUMNS: [&str; 2] = [
    "ALTER TABLE job_steps ADD COLUMN fallback TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE job_steps ADD COLUMN refused_at BIGINT",
];

#[async_trait::async_trait]
impl MigrationTrait for Fallback {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &COLUMNS).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["refused_at", "fallback"] {
            let statement = format!("ALTER TABLE job_steps DROP COLUMN {column}");
            manager.get_connection().execute_unprepared(&statement).await?;
        }
        Ok(())
    }
}
