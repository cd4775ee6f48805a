//! Indexes for what is asked today.

use crate::plain::Plain;

pub(super) const INDEXES: Plain = Plain {
    name: "job_0011_indexes",
    up: &[
        // Nothing asks by the time alone any more. SQLite took it to find the few below, and read every open job.
        "DROP INDEX jobs_open",
        "DROP INDEX jobs_broken",
        // Those at whose work a process died. SQLite searches by a column only, not by an index' condition.
        "CREATE INDEX jobs_broken ON jobs (crash_count) WHERE finished_at IS NULL AND crash_count > 0",
        // An operator's list.
        "CREATE INDEX jobs_newest ON jobs (created_at, id)",
    ],
    down: &[
        "DROP INDEX jobs_newest",
        "DROP INDEX jobs_broken",
        "CREATE INDEX jobs_broken ON jobs (id) WHERE finished_at IS NULL AND crash_count > 0",
        "CREATE INDEX jobs_open ON jobs (run_at) WHERE finished_at IS NULL",
    ],
};
