//! The document service through its gRPC door, on SQLite and on PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod documents;
mod doors;
mod exports;
mod flow;
mod house;
mod previews;
mod reviews;
mod sources;
