//! The rows of the job context.

pub mod event;
pub mod job;
pub mod lease;
pub mod outbox;
pub mod step;
