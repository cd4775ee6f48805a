//! What calls of models cost, and the pieces of the answers that they are giving.

use sea_orm_migration::prelude::*;

use crate::run;

pub struct Money;

impl MigrationName for Money {
    fn name(&self) -> &str {
        "job_0005_money"
    }
}

/// Amounts are millionths of a US dollar, times are microseconds since the Unix epoch.
const TABLES: [&str; 6] = [
    "CREATE TABLE cost_ledger (
        id TEXT NOT NULL PRIMARY KEY,
        job_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        epoch BIGINT NOT NULL,
        step_key TEXT NOT NULL,
        model TEXT NOT NULL,
        status TEXT NOT NULL,
        reserved_micro BIGINT NOT NULL,
        cost_micro BIGINT NOT NULL,
        input_tokens BIGINT NOT NULL,
        output_tokens BIGINT NOT NULL,
        input_price_micro BIGINT NOT NULL,
        output_price_micro BIGINT NOT NULL,
        started_at BIGINT NOT NULL,
        ended_at BIGINT
    )",
    "CREATE INDEX cost_ledger_of_job ON cost_ledger (job_id)",
    "CREATE INDEX cost_ledger_of_user ON cost_ledger (user_id, started_at)",
    "CREATE INDEX cost_ledger_by_time ON cost_ledger (started_at)",
    "CREATE INDEX cost_ledger_open ON cost_ledger (job_id) WHERE status = 'open'",
    "CREATE TABLE job_chunks (
        job_id TEXT NOT NULL,
        step_key TEXT NOT NULL,
        start BIGINT NOT NULL,
        epoch BIGINT NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (job_id, step_key, start)
    )",
];

#[async_trait::async_trait]
impl MigrationTrait for Money {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &TABLES).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["job_chunks", "cost_ledger"] {
            manager.get_connection().execute_unprepared(&format!("DROP TABLE {table}")).await?;
        }
        Ok(())
    }
}
