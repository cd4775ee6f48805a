//! The whole of Quire over HTTP and gRPC, as its customers meet it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod alert;
mod answer;
mod attack;
mod books;
mod crash;
mod customer;
mod cut_refresh;
mod drops;
mod exposition;
mod fleet;
mod grpc;
mod history;
mod journey;
mod limits;
mod lying_redis;
mod mailbox;
mod migrating;
mod model;
mod outage;
mod outline;
mod pages;
mod provider;
mod raw_body;
mod refresh;
mod refunds;
mod replays;
mod revocation;
mod road;
mod samples;
mod secrets;
mod section;
mod serving;
mod sign_in;
mod slow_redis;
mod socket;
mod sse;
mod storm;
mod sweep;
mod system;
mod till;
mod trouble;
mod two_systems;
mod wait;
mod webhook;
