//! The payment service through its gRPC door, with the sandbox as provider.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod checkout;
mod doors;
mod ledger;
mod orders;
mod peers;
mod refund;
mod relay;
mod settle;
mod stage;
mod webhook;
