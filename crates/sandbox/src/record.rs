//! What the provider remembers: sessions, payment intents, charges, refunds, disputes, events and deliveries under way.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::methods::{Failure, Method};
use crate::table::{Row, Table};

pub(crate) type Metadata = BTreeMap<String, String>;

/// Everything that outlives a restart. Times are seconds since the Unix epoch, amounts are in minor units.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) sessions: Table<Session>,
    pub(crate) intents: Table<Intent>,
    pub(crate) charges: Table<Charge>,
    pub(crate) refunds: Table<Refund>,
    #[serde(default)]
    pub(crate) disputes: Table<Dispute>,
    pub(crate) events: Table<Event>,
    /// Ids of the events whose delivery has not been acknowledged, oldest first.
    pub(crate) undelivered: Vec<String>,
    pub(crate) answers: HashMap<String, Answer>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionStatus {
    Open,
    Complete,
    Expired,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) expires_at: i64,
    pub(crate) status: SessionStatus,
    /// Complete, but the money is still on its way or did not come.
    #[serde(default)]
    pub(crate) unpaid: bool,
    pub(crate) currency: String,
    pub(crate) items: Vec<LineItem>,
    pub(crate) amount_total: i64,
    pub(crate) success_url: String,
    pub(crate) cancel_url: Option<String>,
    pub(crate) client_reference_id: Option<String>,
    pub(crate) customer_email: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) intent_metadata: Metadata,
    pub(crate) intent_description: Option<String>,
    pub(crate) intent: Option<String>,
    /// The types of payment method that it takes.
    #[serde(default = "card_only")]
    pub(crate) method_types: Vec<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct LineItem {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) unit_amount: i64,
    pub(crate) quantity: i64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IntentStatus {
    #[default]
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Processing,
    Succeeded,
    Canceled,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) status: IntentStatus,
    /// The charge of the last try to pay, whatever became of it.
    #[serde(alias = "charge")]
    pub(crate) latest_charge: Option<String>,
    /// Why the last try failed.
    #[serde(default)]
    pub(crate) failure: Option<Failure>,
    #[serde(default)]
    pub(crate) method: Option<Method>,
    /// The types of payment method that it takes.
    #[serde(default = "card_only")]
    pub(crate) method_types: Vec<String>,
    /// What a browser confirms it with. Intents of a checkout session have none.
    #[serde(default)]
    pub(crate) client_secret: Option<String>,
    /// Where the buyer goes after the authentication.
    #[serde(default)]
    pub(crate) return_url: Option<String>,
    #[serde(default)]
    pub(crate) canceled_at: Option<i64>,
    #[serde(default)]
    pub(crate) cancellation_reason: Option<String>,
    /// The checkout session that it belongs to.
    #[serde(default)]
    pub(crate) session: Option<String>,
    /// Only in files of the version that knew no other failure.
    #[serde(default, skip_serializing)]
    pub(crate) declined: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChargeStatus {
    Pending,
    #[default]
    Succeeded,
    Failed,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Charge {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) intent: String,
    pub(crate) amount: i64,
    pub(crate) amount_refunded: i64,
    pub(crate) currency: String,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) status: ChargeStatus,
    #[serde(default)]
    pub(crate) failure: Option<Failure>,
    #[serde(default)]
    pub(crate) method: Method,
    /// Whether there ever was a dispute.
    #[serde(default)]
    pub(crate) disputed: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RefundStatus {
    Pending,
    #[default]
    Succeeded,
    Failed,
    Canceled,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) intent: String,
    pub(crate) charge: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) reason: Option<String>,
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) status: RefundStatus,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DisputeStatus {
    NeedsResponse,
    UnderReview,
    Won,
    Lost,
}

impl DisputeStatus {
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::NeedsResponse | Self::UnderReview)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Dispute {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) charge: String,
    pub(crate) intent: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) reason: String,
    pub(crate) status: DisputeStatus,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) created: i64,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The object as it was at the time of the event.
    pub(crate) object: Value,
    pub(crate) request_id: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    /// It was not acknowledged, and is not tried any more.
    #[serde(default)]
    pub(crate) given_up: bool,
}

/// What was answered to a request with an idempotency key.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) created: i64,
    pub(crate) fingerprint: String,
    pub(crate) request_id: String,
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Data {
    /// Completes what a file of an earlier version leaves out. Changes nothing in a newer one.
    pub(crate) fn upgrade(&mut self) {
        for session in self.sessions.rows() {
            let intent = session.intent.as_ref().and_then(|id| self.intents.get_mut(id));
            if let Some(intent) = intent {
                intent.session = Some(session.id.clone());
            }
        }
        for charge in self.charges.rows() {
            let Some(intent) = self.intents.get_mut(&charge.intent) else { continue };
            let waiting = intent.status == IntentStatus::RequiresPaymentMethod;
            if waiting && charge.status == ChargeStatus::Succeeded {
                intent.status = IntentStatus::Succeeded;
            }
        }
        self.intents.for_each_mut(|intent| {
            if std::mem::take(&mut intent.declined) && intent.status == IntentStatus::RequiresPaymentMethod {
                intent.failure = Some(Failure::Declined);
            }
        });
    }
}

fn card_only() -> Vec<String> {
    vec!["card".to_owned()]
}

macro_rules! rows {
    ($($row:ty),*) => {$(
        impl Row for $row {
            fn id(&self) -> &str {
                &self.id
            }
            fn created(&self) -> i64 {
                self.created
            }
        }
    )*};
}

rows!(Session, Intent, Charge, Refund, Dispute, Event);
