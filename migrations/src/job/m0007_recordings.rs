//! What models were asked and what they answered, so that a job can be written once more without them.

use crate::plain::Plain;

/// `call_id` is that of the ledger, whose row goes when the call was refused.
pub(super) const RECORDINGS: Plain = Plain {
    name: "job_0007_recordings",
    up: &[
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
    ],
    down: &["DROP TABLE job_recordings"],
};
