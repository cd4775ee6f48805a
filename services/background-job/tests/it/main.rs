//! The job service through its gRPC door, with the services around it played by the test.

mod crash;
mod document;
mod ends;
mod follow;
mod model;
mod model_writer;
mod payment;
mod retries;
mod stage;
mod starting;
