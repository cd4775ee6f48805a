//! What finding the next job needs when a hundred thousand wait.

use crate::plain::Plain;

pub(super) const CLAIMS: Plain = Plain {
    name: "job_0006_claims",
    up: &[
        // A user's waiting jobs in the order in which they are taken.
        "CREATE INDEX jobs_waiting ON jobs
            (user_id, priority DESC, pages, created_at, id, run_at, crash_count) WHERE status = 'queued'",
        // Few: as many as are at work.
        "CREATE INDEX jobs_taken ON jobs (user_id, id) WHERE status = 'running'",
        // Gone along from user to user.
        "CREATE INDEX jobs_users ON jobs (user_id) WHERE finished_at IS NULL",
        // Those at whose work a process died.
        "CREATE INDEX jobs_broken ON jobs (id) WHERE finished_at IS NULL AND crash_count > 0",
    ],
    down: &[
        "DROP INDEX jobs_broken",
        "DROP INDEX jobs_users",
        "DROP INDEX jobs_taken",
        "DROP INDEX jobs_waiting",
    ],
};
