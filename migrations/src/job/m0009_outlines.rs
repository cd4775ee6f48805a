//! Jobs that only plan, and where a step comes from that another job has done.

use crate::plain::Plain;

pub(super) const OUTLINES: Plain = Plain {
    name: "job_0009_outlines",
    up: &[
        "ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'document'",
        // The id of the job; empty: the step is the job's own.
        "ALTER TABLE job_steps ADD COLUMN taken_from TEXT NOT NULL DEFAULT ''",
        // A second request answers the job that is still open.
        "DROP INDEX jobs_operator_open",
        "CREATE UNIQUE INDEX jobs_unpaid_open ON jobs (document_id, kind) WHERE order_id IS NULL AND finished_at IS NULL",
        "CREATE INDEX jobs_of_document ON jobs (document_id, created_at)",
    ],
    down: &[
        "DROP INDEX jobs_of_document",
        "DROP INDEX jobs_unpaid_open",
        "CREATE UNIQUE INDEX jobs_operator_open ON jobs (document_id) WHERE order_id IS NULL AND finished_at IS NULL",
        "ALTER TABLE job_steps DROP COLUMN taken_from",
        "ALTER TABLE jobs DROP COLUMN kind",
    ],
};
