//! What calls of models cost, and the pieces of the answers that they are giving.

use crate::plain::Plain;

/// Amounts are millionths of a US dollar.
pub(super) const MONEY: Plain = Plain {
    name: "job_0005_money",
    up: &[
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
    ],
    down: &["DROP TABLE job_chunks", "DROP TABLE cost_ledger"],
};
