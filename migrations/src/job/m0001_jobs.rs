//! Jobs, their leases, steps and events, and the outbox, as they began.

use crate::plain::Plain;

pub(super) const JOBS: Plain = Plain {
    name: "job_0001_jobs",
    up: &[
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
    ],
    down: &[
        "DROP TABLE job_outbox",
        "DROP TABLE job_events",
        "DROP TABLE job_steps",
        "DROP TABLE job_leases",
        "DROP TABLE jobs",
    ],
};
