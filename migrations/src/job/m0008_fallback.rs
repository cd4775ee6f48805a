//! Who stands in for the writer of a step, and since when that one refuses.

use crate::plain::Plain;

/// `fallback` is empty for the writer that was ordered; `refused_at` is database time.
pub(super) const FALLBACK: Plain = Plain {
    name: "job_0008_fallback",
    up: &[
        "ALTER TABLE job_steps ADD COLUMN fallback TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE job_steps ADD COLUMN refused_at BIGINT",
    ],
    down: &["ALTER TABLE job_steps DROP COLUMN refused_at", "ALTER TABLE job_steps DROP COLUMN fallback"],
};
