//! One migrator per bounded context, each with its own bookkeeping table: services never share a table, so
//! their histories are independent too.

pub mod auth;
pub mod document;
mod idempotency;
pub mod job;
pub mod payment;

pub use auth::AuthMigrator;
pub use document::DocumentMigrator;
pub use job::JobMigrator;
pub use payment::PaymentMigrator;
