//! The rows of the job context.

pub mod chunk;
pub mod cost;
pub mod event;
pub mod job;
pub mod lease;
pub mod outbox;
pub mod recording;
pub mod slot;
pub mod step;
