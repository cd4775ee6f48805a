//! The job service through its gRPC door, with the services around it played by the test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

mod auth;
mod budgets;
mod crash;
mod document;
mod doors;
mod ends;
mod fallback;
mod follow;
mod keys;
mod kills;
mod metrics;
mod model;
mod model_writer;
mod money;
mod operators;
mod order_jobs;
mod parts;
mod pauses;
mod payment;
mod press;
mod provider_limits;
mod real_model;
mod replicas;
mod retries;
mod revocations;
mod stage;
mod starting;
mod streams;
mod turns;
