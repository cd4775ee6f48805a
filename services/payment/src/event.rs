//! The provider's events: which are about an order of ours, and what they say about it.

use serde::Deserialize;
use serde_json::Value;

use crate::error::PaymentError;
use crate::provider::{CheckoutSession, PaymentStatus, Reference, SessionStatus};

/// A verified event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) subject: Subject,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Nothing to do, and why.
    Ignored(&'static str),
    Order {
        order_id: String,
        notice: Notice,
    },
}

/// What is said about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The money has arrived.
    Paid(Payment),
    /// The checkout is complete, the money is still on its way.
    Processing,
    /// The checkout ran out.
    Expired { session_id: String },
    /// The money that was on its way did not come.
    Failed { session_id: String },
    /// Paid, it says, but not what or how: an operator must look.
    Incomplete,
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

#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "type")]
    kind: String,
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
        if envelope.id.is_empty() || envelope.id.len() > 255 || envelope.kind.len() > 255 {
            return Err(PaymentError::Payload);
        }
        let subject = subject(&envelope.kind, envelope.data.object)?;
        Ok(Self { id: envelope.id, kind: envelope.kind, subject })
    }
}

impl Notice {
    /// What a session says by itself; nothing while it is open.
    pub(crate) fn of_session(session: CheckoutSession) -> Option<Self> {
        match session.status {
            Some(SessionStatus::Complete) => Some(Self::of_completed(session)),
            Some(SessionStatus::Expired) => Some(Self::Expired { session_id: session.id }),
            Some(SessionStatus::Open | SessionStatus::Unknown) | None => None,
        }
    }

    fn of_completed(session: CheckoutSession) -> Self {
        match session.payment_status {
            Some(PaymentStatus::Paid) => paid(session.payment_intent, session.amount_total, session.currency),
            Some(PaymentStatus::Unpaid) => Self::Processing,
            // Our sessions always cost something.
            Some(PaymentStatus::NoPaymentRequired | PaymentStatus::Unknown) | None => Self::Incomplete,
        }
    }
}

fn subject(kind: &str, object: Value) -> Result<Subject, PaymentError> {
    type Reader = fn(Value) -> Result<Notice, serde_json::Error>;
    let read: Reader = match kind {
        "checkout.session.completed" => |object| serde_json::from_value(object).map(Notice::of_completed),
        "checkout.session.async_payment_succeeded" => {
            |object| serde_json::from_value(object).map(Notice::of_completed)
        }
        "checkout.session.async_payment_failed" => |object| {
            serde_json::from_value(object)
                .map(|session: CheckoutSession| Notice::Failed { session_id: session.id })
        },
        "checkout.session.expired" => |object| {
            serde_json::from_value(object)
                .map(|session: CheckoutSession| Notice::Expired { session_id: session.id })
        },
        "payment_intent.succeeded" => |object| serde_json::from_value(object).map(of_intent),
        "charge.succeeded" => |object| serde_json::from_value(object).map(of_charge),
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

#[derive(Deserialize)]
struct Intent {
    id: String,
    amount_received: Option<i64>,
    currency: Option<String>,
}

#[derive(Deserialize)]
struct Charge {
    paid: Option<bool>,
    amount: Option<i64>,
    currency: Option<String>,
    payment_intent: Option<Reference>,
}

fn of_intent(intent: Intent) -> Notice {
    paid(Some(Reference::Id(intent.id)), intent.amount_received, intent.currency)
}

fn of_charge(charge: Charge) -> Notice {
    if charge.paid == Some(false) {
        return Notice::Incomplete;
    }
    paid(charge.payment_intent, charge.amount, charge.currency)
}

fn paid(payment: Option<Reference>, amount_minor: Option<i64>, currency: Option<String>) -> Notice {
    match (payment, amount_minor, currency) {
        (Some(payment), Some(amount_minor), Some(currency)) => Notice::Paid(Payment {
            id: payment.into_id(),
            amount_minor,
            currency: currency.to_ascii_uppercase(),
        }),
        _ => Notice::Incomplete,
    }
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
            Subject::Ignored(reason) => panic!("ignored: {reason}"),
        };
        assert_eq!(notice("unpaid"), Notice::Processing);
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
