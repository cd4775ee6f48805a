//! The payment service through its gRPC door, with the sandbox as provider.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod amounts;
mod audit;
mod calls;
mod checkout;
mod concurrency;
mod dead_letters;
mod disputes;
mod doors;
mod events;
mod idempotency;
mod intents;
mod ledger;
mod order_of_events;
mod orders;
mod outages;
mod peers;
mod reconcile;
mod redis;
mod refund;
mod refund_properties;
mod refund_requests;
mod refunds;
mod relay;
mod sabotage;
mod settle;
mod signatures;
mod stage;
mod storm;
mod vectors;
mod webhook;
