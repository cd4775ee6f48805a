//! What a job is for is its purpose: `kind` is what an event is.

use crate::plain::Plain;

pub(super) const PURPOSE: Plain = Plain {
    name: "job_0010_purpose",
    up: &["ALTER TABLE jobs RENAME COLUMN kind TO purpose"],
    down: &["ALTER TABLE jobs RENAME COLUMN purpose TO kind"],
};
