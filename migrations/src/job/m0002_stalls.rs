//! How often, and since when, the present step has waited for something outside it.

use crate::plain::Plain;

pub(super) const STALLS: Plain = Plain {
    name: "job_0002_stalls",
    up: &[
        "ALTER TABLE jobs ADD COLUMN stalls INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN stalled_since BIGINT",
    ],
    down: &["ALTER TABLE jobs DROP COLUMN stalled_since", "ALTER TABLE jobs DROP COLUMN stalls"],
};
