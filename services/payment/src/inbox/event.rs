//! The provider's events: which are about an order of ours, and what they say about it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::PaymentError;
use crate::provider::{
    CheckoutSession, IntentStatus, PaymentIntent, PaymentStatus, Reference, SessionStatus,
};

/// A verified event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: String,
    /// Whether it is about real money; absent in events that do not say.
    pub(crate) livemode: Option<bool>,
    /// When the provider made it, seconds since the Unix epoch.
    pub(crate) created: Option<i64>,
    pub(crate) subject: Subject,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Nothing to do, and why.
    Ignored(&'static str),
    /// It cannot be right, and why: an operator must look.
    Suspect(&'static str),
    Order {
        order_id: String,
        notice: Notice,
    },
    /// It names no order, only a payment.
    Payment {
        payment_id: String,
        fact: Fact,
    },
}

/// What is said about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The money has arrived.
    Paid(Payment),
    /// It has arrived, and so much of it went back so far, in minor units.
    Refunded(Payment, i64),
    /// The session is complete or the intent confirmed, the money is still on its way.
    Processing { object_id: String },
    /// The session or intent can no longer be paid.
    Expired { object_id: String },
    /// The money that was on its way did not come.
    Failed { object_id: String },
    /// Paid, it says, but not what or how: an operator must look.
    Incomplete,
}

/// What is said about a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    Refund(ProviderRefund),
    Dispute(ProviderDispute),
}

/// A payment that succeeded. Several events tell of the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payment {
    /// The provider's id of the payment intent.
    pub(crate) id: String,
    pub(crate) amount_minor: i64,
    /// ISO 4217, upper case.
    pub(crate) currency: String,
}

/// What the provider says about one refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProviderRefund {
    pub(crate) id: String,
    pub(crate) amount_minor: i64,
    pub(crate) currency: String,
    pub(crate) word: RefundWord,
    /// The id that we gave it; none if it was made at the provider by hand.
    pub(crate) refund_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefundWord {
    Pending,
    Succeeded,
    Failed,
}

/// What the provider says about a dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProviderDispute {
    pub(crate) id: String,
    pub(crate) amount_minor: i64,
    pub(crate) currency: String,
    pub(crate) word: DisputeWord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DisputeWord {
    Open,
    Won,
    Lost,
}

/// The kinds of events that are acted upon: those to ask the provider for.
pub(crate) const KINDS: [&str; 19] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "payment_intent.succeeded",
    "payment_intent.processing",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "charge.succeeded",
    "charge.refunded",
    "charge.refund.updated",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
];

/// The provider's ids and types have a few dozen letters.
const MAX_WORD_BYTES: usize = 255;
/// More digits than the provider takes in any currency.
const MAX_AMOUNT_MINOR: i64 = 999_999_999_999;

#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    livemode: Option<bool>,
    created: Option<i64>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
}

impl Event {
    /// Reads the few fields that matter.
    ///
    /// # Errors
    /// The body is not an event.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, PaymentError> {
        let envelope: Envelope = serde_json::from_slice(body).map_err(|_| PaymentError::Payload)?;
        if !is_word(&envelope.id) || !is_word(&envelope.kind) {
            return Err(PaymentError::Payload);
        }
        let subject = subject(&envelope.kind, envelope.data.object)?;
        let Envelope { id, kind, livemode, created, .. } = envelope;
        Ok(Self { id, kind, livemode, created, subject })
    }
}

impl Notice {
    /// One word for people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Paid(_) => "paid",
            Self::Refunded(..) => "refunded",
            Self::Processing { .. } => "processing",
            Self::Expired { .. } => "expired",
            Self::Failed { .. } => "failed",
            Self::Incomplete => "incomplete",
        }
    }

    /// What a session says by itself; nothing while it is open.
    pub(crate) fn of_session(session: CheckoutSession) -> Option<Self> {
        match session.status {
            Some(SessionStatus::Complete) => Some(Self::of_completed(session)),
            Some(SessionStatus::Expired) => Some(Self::Expired { object_id: session.id }),
            Some(SessionStatus::Open | SessionStatus::Unknown) | None => None,
        }
    }

    /// What a payment intent says by itself; nothing while it can still be paid.
    pub(crate) fn of_intent(intent: PaymentIntent) -> Option<Self> {
        match intent.status {
            Some(IntentStatus::Succeeded) => Some(succeeded(intent)),
            Some(IntentStatus::Processing) => Some(Self::Processing { object_id: intent.id }),
            Some(IntentStatus::Canceled) => Some(Self::Expired { object_id: intent.id }),
            Some(IntentStatus::Payable) | None => None,
        }
    }

    fn of_completed(session: CheckoutSession) -> Self {
        match session.payment_status {
            Some(PaymentStatus::Paid) => paid(session.payment_intent, session.amount_total, session.currency),
            Some(PaymentStatus::Unpaid) => Self::Processing { object_id: session.id },
            // Our sessions always cost something.
            Some(PaymentStatus::NoPaymentRequired | PaymentStatus::Unknown) | None => Self::Incomplete,
        }
    }
}

fn subject(kind: &str, object: Value) -> Result<Subject, PaymentError> {
    match kind {
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            return about_payment(object, |refund: Refund| refund.read());
        }
        _ if kind.starts_with("charge.dispute.") => {
            return about_payment(object, |dispute: Dispute| dispute.read());
        }
        _ => {}
    }
    type Reader = fn(Value) -> Result<Notice, serde_json::Error>;
    let read: Reader = match kind {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            |object| serde_json::from_value(object).map(Notice::of_completed)
        }
        "checkout.session.async_payment_failed" => |object| {
            serde_json::from_value(object)
                .map(|session: CheckoutSession| Notice::Failed { object_id: session.id })
        },
        "checkout.session.expired" => |object| {
            serde_json::from_value(object)
                .map(|session: CheckoutSession| Notice::Expired { object_id: session.id })
        },
        "payment_intent.succeeded" => |object| serde_json::from_value(object).map(succeeded),
        "payment_intent.processing" => |object| {
            serde_json::from_value(object)
                .map(|intent: PaymentIntent| Notice::Processing { object_id: intent.id })
        },
        "payment_intent.payment_failed" => |object| {
            serde_json::from_value(object)
                .map(|intent: PaymentIntent| Notice::Failed { object_id: intent.id })
        },
        "payment_intent.canceled" => |object| {
            serde_json::from_value(object)
                .map(|intent: PaymentIntent| Notice::Expired { object_id: intent.id })
        },
        "charge.succeeded" => |object| serde_json::from_value(object).map(of_charge),
        "charge.refunded" => |object| serde_json::from_value(object).map(of_refunded_charge),
        _ => return Ok(Subject::Ignored("UNKNOWN_TYPE")),
    };
    // Other applications may share the account: what does not carry the id of an order of ours is theirs.
    let order_id = object.pointer("/metadata/order_id").and_then(Value::as_str);
    let Some(order_id) = order_id.filter(|id| is_order_id(id)).map(str::to_owned) else {
        return Ok(Subject::Ignored("NOT_OURS"));
    };
    let notice = read(object).map_err(|_| PaymentError::Payload)?;
    Ok(Subject::Order { order_id, notice })
}

/// Refunds and disputes name their payment; whether it is ours, the books know.
fn about_payment<T: DeserializeOwned>(
    object: Value,
    read: impl FnOnce(T) -> Result<(Reference, Fact), &'static str>,
) -> Result<Subject, PaymentError> {
    let object = serde_json::from_value(object).map_err(|_| PaymentError::Payload)?;
    let (payment, fact) = match read(object) {
        Ok(read) => read,
        Err(reason) => return Ok(Subject::Ignored(reason)),
    };
    let payment_id = payment.into_id();
    let (id, amount_minor, currency) = match &fact {
        Fact::Refund(refund) => (&refund.id, refund.amount_minor, &refund.currency),
        Fact::Dispute(dispute) => (&dispute.id, dispute.amount_minor, &dispute.currency),
    };
    if is_word(&payment_id) && is_word(id) && is_money(amount_minor, currency) {
        return Ok(Subject::Payment { payment_id, fact });
    }
    Ok(Subject::Suspect("NO_MONEY"))
}

/// A refund object, as far as it matters.
#[derive(Deserialize)]
pub(crate) struct Refund {
    id: String,
    amount: i64,
    currency: String,
    status: Option<String>,
    payment_intent: Option<Reference>,
    metadata: Option<Value>,
}

impl Refund {
    /// What it says, if it is about a payment intent.
    pub(crate) fn word(self) -> Option<ProviderRefund> {
        match self.read() {
            Ok((_, Fact::Refund(refund))) => Some(refund),
            _ => None,
        }
    }

    /// The payment and what is said about it.
    ///
    /// # Errors
    /// It is not about a payment intent.
    pub(crate) fn read(self) -> Result<(Reference, Fact), &'static str> {
        let payment = self.payment_intent.ok_or("NOT_OURS")?;
        let word = match self.status.as_deref() {
            Some("failed" | "canceled") => RefundWord::Failed,
            Some("pending" | "requires_action") => RefundWord::Pending,
            _ => RefundWord::Succeeded,
        };
        let own = self.metadata.as_ref().and_then(|metadata| metadata.get("refund_id")?.as_str());
        let refund_id = own.filter(|id| is_order_id(id)).map(str::to_owned);
        let currency = self.currency.to_ascii_uppercase();
        let refund = ProviderRefund { id: self.id, amount_minor: self.amount, currency, word, refund_id };
        Ok((payment, Fact::Refund(refund)))
    }
}

#[derive(Deserialize)]
struct Dispute {
    id: String,
    amount: i64,
    currency: String,
    status: String,
    payment_intent: Option<Reference>,
}

impl Dispute {
    fn read(self) -> Result<(Reference, Fact), &'static str> {
        let payment = self.payment_intent.ok_or("NOT_OURS")?;
        let word = match self.status.as_str() {
            "won" | "prevented" => DisputeWord::Won,
            "lost" => DisputeWord::Lost,
            // The bank only asks: no money is withheld.
            status if status.starts_with("warning_") => return Err("INQUIRY"),
            _ => DisputeWord::Open,
        };
        let currency = self.currency.to_ascii_uppercase();
        let dispute = ProviderDispute { id: self.id, amount_minor: self.amount, currency, word };
        Ok((payment, Fact::Dispute(dispute)))
    }
}

#[derive(Deserialize)]
struct Charge {
    paid: Option<bool>,
    amount: Option<i64>,
    amount_refunded: Option<i64>,
    currency: Option<String>,
    payment_intent: Option<Reference>,
}

fn succeeded(intent: PaymentIntent) -> Notice {
    paid(Some(Reference::Id(intent.id)), intent.amount_received, intent.currency)
}

fn of_charge(charge: Charge) -> Notice {
    if charge.paid == Some(false) {
        return Notice::Incomplete;
    }
    paid(charge.payment_intent, charge.amount, charge.currency)
}

fn of_refunded_charge(charge: Charge) -> Notice {
    let refunded_minor = charge.amount_refunded;
    match (of_charge(charge), refunded_minor) {
        (Notice::Paid(payment), Some(refunded_minor))
            if (0..=payment.amount_minor).contains(&refunded_minor) =>
        {
            Notice::Refunded(payment, refunded_minor)
        }
        _ => Notice::Incomplete,
    }
}

fn paid(payment: Option<Reference>, amount_minor: Option<i64>, currency: Option<String>) -> Notice {
    let (Some(payment), Some(amount_minor), Some(currency)) = (payment, amount_minor, currency) else {
        return Notice::Incomplete;
    };
    let payment = Payment { id: payment.into_id(), amount_minor, currency: currency.to_ascii_uppercase() };
    if is_word(&payment.id) && is_money(amount_minor, &payment.currency) {
        Notice::Paid(payment)
    } else {
        Notice::Incomplete
    }
}

/// Whether a text can be an id or a type. Others no database stores, U+0000 for one.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_WORD_BYTES && !text.contains(char::is_control)
}

/// Whether it can be an amount of money at all: what is within these bounds can be added up without care.
fn is_money(amount_minor: i64, currency: &str) -> bool {
    (0..=MAX_AMOUNT_MINOR).contains(&amount_minor)
        && currency.len() == 3
        && currency.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The shape of our order ids: a UUID in lower case.
fn is_order_id(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ORDER: &str = "018bcfe5-6800-7000-8000-000000000001";

    fn read(kind: &str, object: Value) -> Subject {
        let body = json!({ "id": "evt_1", "type": kind, "data": { "object": object } }).to_string();
        Event::parse(body.as_bytes()).unwrap().subject
    }

    fn session(payment_status: &str) -> Value {
        json!({
            "id": "cs_1", "status": "complete", "payment_status": payment_status, "amount_total": 600,
            "currency": "eur", "payment_intent": "pi_1", "metadata": { "order_id": ORDER },
        })
    }

    #[test]
    fn the_three_events_of_a_payment_say_the_same() {
        let intent = json!({
            "id": "pi_1", "amount_received": 600, "currency": "eur", "metadata": { "order_id": ORDER },
        });
        let charge = json!({
            "id": "ch_1", "amount": 600, "currency": "eur", "paid": true, "payment_intent": { "id": "pi_1" },
            "metadata": { "order_id": ORDER },
        });
        let payment = Payment { id: "pi_1".into(), amount_minor: 600, currency: "EUR".into() };
        let expected = Subject::Order { order_id: ORDER.into(), notice: Notice::Paid(payment) };
        assert_eq!(read("checkout.session.completed", session("paid")), expected);
        assert_eq!(read("checkout.session.async_payment_succeeded", session("paid")), expected);
        assert_eq!(read("payment_intent.succeeded", intent), expected);
        assert_eq!(read("charge.succeeded", charge), expected);
    }

    #[test]
    fn completed_is_paid_only_if_it_says_so() {
        let notice = |payment_status: &str| match read("checkout.session.completed", session(payment_status))
        {
            Subject::Order { notice, .. } => notice,
            other => panic!("{other:?}"),
        };
        assert_eq!(notice("unpaid"), Notice::Processing { object_id: "cs_1".into() });
        assert_eq!(notice("no_payment_required"), Notice::Incomplete);
        assert_eq!(notice("something_new"), Notice::Incomplete);
        let mut without_payment = session("paid");
        without_payment["payment_intent"] = Value::Null;
        let subject = read("checkout.session.completed", without_payment);
        assert_eq!(subject, Subject::Order { order_id: ORDER.into(), notice: Notice::Incomplete });
    }

    #[test]
    fn what_is_not_about_our_orders_is_ignored_with_a_reason() {
        assert_eq!(read("invoice.paid", json!({ "id": 5 })), Subject::Ignored("UNKNOWN_TYPE"));
        for metadata in [json!(null), json!({}), json!({ "order_id": "1000045" }), json!({ "order_id": 7 })] {
            let mut foreign = session("paid");
            foreign["metadata"] = metadata;
            assert_eq!(read("checkout.session.completed", foreign), Subject::Ignored("NOT_OURS"));
        }
    }

    #[test]
    fn a_body_that_is_no_event_is_refused() {
        for body in ["", "[]", "{}", "\u{0}", r#"{"id": "", "type": "x", "data": {"object": {}}}"#] {
            assert!(matches!(Event::parse(body.as_bytes()), Err(PaymentError::Payload)), "{body}");
        }
        assert!(matches!(Event::parse(&[0xff, 0xfe]), Err(PaymentError::Payload)));
    }
}
