//! What the provider remembers: sessions, payment intents, charges, refunds, events and deliveries under way.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

pub(crate) type Metadata = BTreeMap<String, String>;

/// Everything that outlives a restart. Times are seconds since the Unix epoch, amounts are in minor units.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) sessions: Table<Session>,
    pub(crate) intents: Table<Intent>,
    pub(crate) charges: Table<Charge>,
    pub(crate) refunds: Table<Refund>,
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
}

#[derive(Serialize, Deserialize)]
pub(crate) struct LineItem {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) unit_amount: i64,
    pub(crate) quantity: i64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    /// The successful charge. Without one the intent still waits for a payment method.
    pub(crate) charge: Option<String>,
    pub(crate) declined: bool,
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

/// A row that is looked up by its id.
pub(crate) trait Row {
    fn id(&self) -> &str;
    fn created(&self) -> i64;
}

/// Rows in the order in which they were made, found by id.
pub(crate) struct Table<T> {
    rows: Vec<T>,
    index: HashMap<String, usize>,
}

impl<T: Row> Table<T> {
    pub(crate) fn push(&mut self, row: T) {
        self.index.insert(row.id().to_owned(), self.rows.len());
        self.rows.push(row);
    }

    pub(crate) fn get(&self, id: &str) -> Option<&T> {
        self.index.get(id).map(|at| &self.rows[*at])
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        self.index.get(id).map(|at| &mut self.rows[*at])
    }

    /// All rows, oldest first.
    pub(crate) fn rows(&self) -> &[T] {
        &self.rows
    }

    /// Where in [`Table::rows`] the row with this id is.
    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// Drops the rows made before a moment. Tells whether there were any.
    pub(crate) fn forget_before(&mut self, moment: i64) -> bool {
        if self.rows.first().is_none_or(|row| row.created() >= moment) {
            return false;
        }
        let mut rows = std::mem::take(&mut self.rows);
        rows.retain(|row| row.created() >= moment);
        *self = Self::from(rows);
        true
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), index: HashMap::new() }
    }
}

impl<T: Row> From<Vec<T>> for Table<T> {
    fn from(rows: Vec<T>) -> Self {
        let index = rows.iter().enumerate().map(|(at, row)| (row.id().to_owned(), at)).collect();
        Self { rows, index }
    }
}

impl<T: Serialize> Serialize for Table<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rows.serialize(serializer)
    }
}

impl<'de, T: Row + Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
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

rows!(Session, Intent, Charge, Refund, Event);
