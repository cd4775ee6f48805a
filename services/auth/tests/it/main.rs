//! Auth through its gRPC door, on SQLite and PostgreSQL, with a clock that the tests turn.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod alerts;
mod audit;
mod blocked;
mod config;
mod doors;
mod harness;
mod health;
mod keys;
mod links;
mod mail;
mod metrics;
mod model;
mod refresh;
mod revocations;
mod sessions;
mod smtp;
mod tokens;
