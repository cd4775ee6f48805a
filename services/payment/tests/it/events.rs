//! Events as the provider makes them, for tests that decide themselves what is told when.

use quire_proto::payment::v1 as pb;
use serde_json::{Value, json};

/// The payment that events are about unless they name another.
pub const PAYMENT: &str = "pi_1";

pub fn event(id: &str, kind: &str, object: Value) -> Value {
    json!({ "id": id, "object": "event", "type": kind, "data": { "object": object } })
}

/// An event about a checkout session of an order.
pub fn session_event(id: &str, kind: &str, order: &pb::Order, changes: Value) -> Value {
    let session_id = order.checkout_url.rsplit('/').next().unwrap();
    let mut session = json!({
        "id": session_id,
        "object": "checkout.session",
        "status": "complete",
        "payment_status": "paid",
        "payment_intent": PAYMENT,
        "amount_total": amount(order),
        "currency": currency(order),
        "metadata": metadata(order),
    });
    change(&mut session, changes);
    event(id, kind, session)
}

/// An event about the intent that pays an order.
pub fn intent_event(id: &str, kind: &str, order: &pb::Order, payment: &str) -> Value {
    let intent = json!({
        "id": payment,
        "object": "payment_intent",
        "status": "succeeded",
        "amount": amount(order),
        "amount_received": amount(order),
        "currency": currency(order),
        "metadata": metadata(order),
    });
    event(id, kind, intent)
}

/// An event about the charge of an order's payment, of which so much went back so far.
pub fn charge_event(id: &str, kind: &str, order: &pb::Order, payment: &str, refunded: i64) -> Value {
    let charge = json!({
        "id": format!("ch_{payment}"),
        "object": "charge",
        "paid": true,
        "amount": amount(order),
        "amount_refunded": refunded,
        "currency": currency(order),
        "payment_intent": payment,
        "metadata": metadata(order),
    });
    event(id, kind, charge)
}

/// An event about a refund of a payment in euros that was made at the provider by hand.
pub fn refund_event(id: &str, kind: &str, payment: &str, refund: &str, told: (i64, &str)) -> Value {
    let (amount, status) = told;
    let refund = json!({
        "id": refund,
        "object": "refund",
        "amount": amount,
        "currency": "eur",
        "status": status,
        "payment_intent": payment,
        "metadata": {},
    });
    event(id, kind, refund)
}

/// An event about a dispute of a payment in euros.
pub fn dispute_event(id: &str, kind: &str, payment: &str, dispute: &str, told: (i64, &str)) -> Value {
    let (amount, status) = told;
    let dispute = json!({
        "id": dispute,
        "object": "dispute",
        "amount": amount,
        "currency": "eur",
        "status": status,
        "payment_intent": payment,
        "metadata": {},
    });
    event(id, &format!("charge.dispute.{kind}"), dispute)
}

/// The same event with other members of its object.
pub fn changed(event: &Value, changes: Value) -> Value {
    let mut event = event.clone();
    change(&mut event["data"]["object"], changes);
    event
}

fn change(object: &mut Value, changes: Value) {
    for (name, value) in changes.as_object().unwrap() {
        object[name] = value.clone();
    }
}

fn amount(order: &pb::Order) -> i64 {
    order.total.as_ref().unwrap().amount_minor
}

fn currency(order: &pb::Order) -> String {
    order.total.as_ref().unwrap().currency.to_lowercase()
}

fn metadata(order: &pb::Order) -> Value {
    json!({ "order_id": order.id, "document_id": order.document_id })
}
