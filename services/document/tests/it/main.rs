//! The document service through its gRPC door, on SQLite and on PostgreSQL.

mod documents;
mod exports;
mod flow;
mod house;
mod sources;
