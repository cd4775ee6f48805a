//! The sandbox through its own doors: the API, the hosted page and the webhooks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod checkout;
mod delivery;
mod idempotency;
mod receiver;
mod restart;
mod shop;
