//! The sandbox through its own doors: the API, the hosted page and the webhooks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod checkout;
mod delivery;
mod disputes;
mod events;
mod faults;
mod idempotency;
mod intents;
mod readme;
mod receiver;
mod refunds;
mod restart;
mod sdk;
mod shop;
mod transit;
