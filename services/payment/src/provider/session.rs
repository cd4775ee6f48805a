//! Checkout sessions and payment intents as the provider shows them, in an answer or inside an event.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CheckoutSession {
    pub(crate) id: String,
    /// Where the customer pays; absent once the session is no longer open.
    pub(crate) url: Option<String>,
    pub(crate) status: Option<SessionStatus>,
    pub(crate) payment_status: Option<PaymentStatus>,
    pub(crate) amount_total: Option<i64>,
    pub(crate) currency: Option<String>,
    pub(crate) payment_intent: Option<Reference>,
    /// Seconds since the Unix epoch.
    pub(crate) expires_at: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionStatus {
    Open,
    Complete,
    Expired,
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PaymentStatus {
    Paid,
    Unpaid,
    NoPaymentRequired,
    #[serde(other)]
    Unknown,
}

/// Another object: its id, or all of it where the account expands it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Reference {
    Id(String),
    Object { id: String },
}

impl Reference {
    pub(crate) fn into_id(self) -> String {
        match self {
            Self::Id(id) | Self::Object { id } => id,
        }
    }
}

/// A payment intent as the provider shows it, in an answer or inside an event.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PaymentIntent {
    pub(crate) id: String,
    pub(crate) status: Option<IntentStatus>,
    pub(crate) amount_received: Option<i64>,
    pub(crate) currency: Option<String>,
    /// Lets the customer's page confirm it. Not in events.
    pub(crate) client_secret: Option<String>,
    /// The charge itself if it was asked for, else its id.
    latest_charge: Option<Value>,
}

impl PaymentIntent {
    /// What went back of it in minor units, if its charge was asked for and there is one.
    pub(crate) fn refunded_minor(&self) -> Option<i64> {
        self.latest_charge.as_ref()?.get("amount_refunded")?.as_i64()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IntentStatus {
    Succeeded,
    Processing,
    Canceled,
    /// Everything else waits for the customer.
    #[serde(other)]
    Payable,
}
