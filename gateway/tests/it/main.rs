//! The gateway alone: what it sends to the services, and what it makes of their answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod accounts;
mod calls;
mod door;
mod failures;
mod jobs;
mod limits;
mod metrics;
mod revocations;
mod sign_in;
mod socket;
mod tokens;
mod upstream;
