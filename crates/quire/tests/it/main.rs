//! The whole of Quire over HTTP and gRPC, as its customers meet it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod answer;
mod attack;
mod crash;
mod customer;
mod grpc;
mod journey;
mod limits;
mod mailbox;
mod pages;
mod provider;
mod refresh;
mod revocation;
mod samples;
mod sign_in;
mod sse;
mod system;
mod trouble;
mod two_systems;
mod wait;
mod webhook;
