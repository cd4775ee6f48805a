//! What a cancelled job delivered, and since when it shall deliver nothing because its money went back.

use crate::plain::Plain;

pub(super) const PARTS: Plain = Plain {
    name: "job_0003_parts",
    up: &[
        "ALTER TABLE jobs ADD COLUMN part_pages INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN refunded_at BIGINT",
    ],
    down: &["ALTER TABLE jobs DROP COLUMN refunded_at", "ALTER TABLE jobs DROP COLUMN part_pages"],
};
