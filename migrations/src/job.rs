//! Tables of the job context.

mod m0004_operations;
mod m0005_money;
mod m0006_claims;
mod m0007_recordings;
mod m0008_fallback;
mod m0009_outlines;
mod m0010_purpose;
mod m0011_indexes;

use sea_orm_migration::prelude::*;

use crate::run;

pub struct JobMigrator;

#[async_trait::async_trait]
impl MigratorTrait for JobMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(First),
            Box::new(Stalls),
            Box::new(Parts),
            Box::new(m0004_operations::Operations),
            Box::new(m0005_money::Money),
            Box::new(m0006_claims::Claims),
            Box::new(m0007_recordings::Recordings),
            Box::new(m0008_fallback::Fallback),
            Box::new(m0009_outlines::Outlines),
            Box::new(m0010_purpose::Purpose),
            Box::new(m0011_indexes::Indexes),
        ]
    }

    fn migration_table_name() -> DynIden {
        "job_migrations".into_iden()
    }
}

struct First;

impl MigrationName for First {
    fn name(&self) -> &str {
        "job_0001_jobs"
    }
}

/// Plain SQL that both databases read alike. Times are microseconds since the Unix epoch.
const TABLES: [&str; 9] = [
    "CREATE TABLE jobs (
        id TEXT NOT NULL PRIMARY KEY,
        order_id TEXT UNIQUE,
        document_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        pages INTEGER NOT NULL,
        status TEXT NOT NULL,
        step TEXT NOT NULL,
        sections_done INTEGER NOT NULL,
        sections_total INTEGER NOT NULL,
        percent INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        step_retries INTEGER NOT NULL,
        crash_count INTEGER NOT NULL,
        run_at BIGINT NOT NULL,
        cancel_requested_at BIGINT,
        failure TEXT NOT NULL,
        counted_pages INTEGER NOT NULL,
        last_seq BIGINT NOT NULL,
        created_at BIGINT NOT NULL,
        finished_at BIGINT
    )",
    // An operator's second request for a document answers the job that is still open.
    "CREATE UNIQUE INDEX jobs_operator_open ON jobs (document_id) WHERE order_id IS NULL AND finished_at IS NULL",
    "CREATE INDEX jobs_open ON jobs (run_at) WHERE finished_at IS NULL",
    "CREATE INDEX jobs_of_user ON jobs (user_id, created_at)",
    // Narrow, because every renewal writes it; expires_at has no index, so that PostgreSQL renews in place.
    "CREATE TABLE job_leases (
        job_id TEXT NOT NULL PRIMARY KEY,
        epoch BIGINT NOT NULL,
        boot_id TEXT NOT NULL,
        worker TEXT NOT NULL,
        expires_at BIGINT NOT NULL
    )",
    "CREATE TABLE job_steps (
        job_id TEXT NOT NULL,
        step_key TEXT NOT NULL,
        input_hash TEXT NOT NULL,
        status TEXT NOT NULL,
        epoch BIGINT NOT NULL,
        content TEXT,
        writer TEXT NOT NULL,
        input_tokens BIGINT NOT NULL,
        output_tokens BIGINT NOT NULL,
        done_at BIGINT,
        PRIMARY KEY (job_id, step_key)
    )",
    "CREATE TABLE job_events (
        job_id TEXT NOT NULL,
        seq BIGINT NOT NULL,
        kind TEXT NOT NULL,
        data TEXT NOT NULL,
        at BIGINT NOT NULL,
        PRIMARY KEY (job_id, seq)
    )",
    "CREATE TABLE job_outbox (
        job_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        payload TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        next_at BIGINT NOT NULL,
        leased_until BIGINT NOT NULL,
        done_at BIGINT,
        PRIMARY KEY (job_id, kind)
    )",
    "CREATE INDEX job_outbox_open ON job_outbox (next_at) WHERE done_at IS NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for First {
    /// On SQLite too: a process killed halfway must leave nothing behind that the next start trips over.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &TABLES).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["job_outbox", "job_events", "job_steps", "job_leases", "jobs"] {
            manager.get_connection().execute_unprepared(&format!("DROP TABLE {table}")).await?;
        }
        Ok(())
    }
}

struct Stalls;

impl MigrationName for Stalls {
    fn name(&self) -> &str {
        "job_0002_stalls"
    }
}

/// How often, and since when, the present step has waited for something outside it.
const STALLS: [&str; 2] = [
    "ALTER TABLE jobs ADD COLUMN stalls INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE jobs ADD COLUMN stalled_since BIGINT",
];

#[async_trait::async_trait]
impl MigrationTrait for Stalls {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &STALLS).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["stalled_since", "stalls"] {
            let statement = format!("ALTER TABLE jobs DROP COLUMN {column}");
            manager.get_connection().execute_unprepared(&statement).await?;
        }
        Ok(())
    }
}

struct Parts;

impl MigrationName for Parts {
    fn name(&self) -> &str {
        "job_0003_parts"
    }
}

/// What a cancelled job delivered, and since when it shall deliver nothing because its money went back.
const PARTS: [&str; 2] = [
    "ALTER TABLE jobs ADD COLUMN part_pages INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE jobs ADD COLUMN refunded_at BIGINT",
];

#[async_trait::async_trait]
impl MigrationTrait for Parts {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &PARTS).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["refunded_at", "part_pages"] {
            let statement = format!("ALTER TABLE jobs DROP COLUMN {column}");
            manager.get_connection().execute_unprepared(&statement).await?;
        }
        Ok(())
    }
}
