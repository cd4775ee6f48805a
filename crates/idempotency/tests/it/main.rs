//! Idempotency keys on both databases: races, crashes, and what each caller is told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod faults;
mod keys;
mod stage;
mod takeover;
