//! The payment service through its gRPC door, with the sandbox as provider.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod calls;
mod checkout;
mod concurrency;
mod doors;
mod events;
mod ledger;
mod orders;
mod peers;
mod redis;
mod refund;
mod relay;
mod settle;
mod stage;
mod webhook;
