//! Prices, orders, provider sessions, the webhook inbox and the outbox.
