//! The job service through its gRPC door, with the services around it played by the test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

mod at_once;
mod auth;
mod budgets;
mod clocks;
mod crash;
mod document;
mod doors;
mod elsewhere;
mod ends;
mod fallback;
mod follow;
mod forecast;
mod histories;
mod keys;
mod kills;
mod leftovers;
mod metrics;
mod model;
mod model_writer;
mod money;
mod operators;
mod order_jobs;
mod outlines;
mod parts;
mod pauses;
mod payment;
mod planning;
mod press;
mod provider_limits;
mod real_model;
mod replay;
mod replicas;
mod retries;
mod reviews;
mod revocations;
mod scenarios;
mod stage;
mod starting;
mod streams;
mod turns;
mod wakes;
