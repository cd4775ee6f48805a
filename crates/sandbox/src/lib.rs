//! A Stripe-compatible local payment provider with signed webhooks.
