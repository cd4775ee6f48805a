//! What fairness, pausing, dead letters and retention need.

use crate::plain::Plain;

pub(super) const OPERATIONS: Plain = Plain {
    name: "job_0004_operations",
    up: &[
        "ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 5",
        "ALTER TABLE jobs ADD COLUMN pause_requested_at BIGINT",
        "ALTER TABLE jobs ADD COLUMN paused_at BIGINT",
        "ALTER TABLE jobs ADD COLUMN pause_reason TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN events_pruned_at BIGINT",
        "CREATE INDEX jobs_with_events ON jobs (finished_at) WHERE events_pruned_at IS NULL",
        // One row for each user who ever had a job, locked while a job of that user is taken. It holds no count, which
        // could go wrong: what runs is counted from the leases each time.
        "CREATE TABLE user_slots (
            user_id TEXT NOT NULL PRIMARY KEY,
            served_at BIGINT NOT NULL
        )",
        "INSERT INTO user_slots (user_id, served_at) SELECT DISTINCT user_id, 0 FROM jobs WHERE user_id <> ''",
        // Nobody's: locked by whoever takes a job while there is a limit for all users together.
        "INSERT INTO user_slots (user_id, served_at) VALUES ('', 0)",
        "ALTER TABLE job_outbox ADD COLUMN dead_at BIGINT",
        "ALTER TABLE job_outbox ADD COLUMN last_error TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX job_outbox_dead ON job_outbox (dead_at) WHERE dead_at IS NOT NULL",
        // Those whose content is dropped one day: few, since the others' was.
        "CREATE INDEX job_steps_contents ON job_steps (job_id) WHERE content IS NOT NULL",
    ],
    down: &[
        "DROP INDEX job_steps_contents",
        "DROP INDEX job_outbox_dead",
        "ALTER TABLE job_outbox DROP COLUMN last_error",
        "ALTER TABLE job_outbox DROP COLUMN dead_at",
        "DROP TABLE user_slots",
        "DROP INDEX jobs_with_events",
        "ALTER TABLE jobs DROP COLUMN events_pruned_at",
        "ALTER TABLE jobs DROP COLUMN pause_reason",
        "ALTER TABLE jobs DROP COLUMN paused_at",
        "ALTER TABLE jobs DROP COLUMN pause_requested_at",
        "ALTER TABLE jobs DROP COLUMN priority",
    ],
};
