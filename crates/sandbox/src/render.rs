//! The stored rows as Stripe's JSON objects.

use serde_json::{Value, json};

use crate::record::{Charge, Event, Intent, Refund, Session, SessionStatus};

/// The version of Stripe's API whose field names are used.
const API_VERSION: &str = "2026-10-28.endive";

pub(crate) fn session(session: &Session, public_url: &str) -> Value {
    let open = session.status == SessionStatus::Open;
    json!({
        "id": session.id,
        "object": "checkout.session",
        "amount_subtotal": session.amount_total,
        "amount_total": session.amount_total,
        "cancel_url": session.cancel_url,
        "client_reference_id": session.client_reference_id,
        "created": session.created,
        "currency": session.currency,
        "customer": null,
        "customer_details": session.customer_email.as_ref().map(|email| json!({ "email": email })),
        "customer_email": session.customer_email,
        "expires_at": session.expires_at,
        "livemode": false,
        "metadata": session.metadata,
        "mode": "payment",
        "payment_intent": session.intent,
        "payment_method_types": ["card"],
        "payment_status": if session.status == SessionStatus::Complete { "paid" } else { "unpaid" },
        "status": session.status,
        "success_url": session.success_url,
        "ui_mode": "hosted",
        "url": open.then(|| format!("{public_url}/pay/{}", session.id)),
    })
}

pub(crate) fn intent(intent: &Intent) -> Value {
    let paid = intent.charge.is_some();
    json!({
        "id": intent.id,
        "object": "payment_intent",
        "amount": intent.amount,
        "amount_capturable": 0,
        "amount_received": if paid { intent.amount } else { 0 },
        "capture_method": "automatic",
        "confirmation_method": "automatic",
        "created": intent.created,
        "currency": intent.currency,
        "customer": null,
        "description": intent.description,
        "last_payment_error": (intent.declined && !paid).then(|| json!({
            "type": "card_error",
            "code": "card_declined",
            "decline_code": "generic_decline",
            "message": "Your card was declined.",
        })),
        "latest_charge": intent.charge,
        "livemode": false,
        "metadata": intent.metadata,
        "payment_method_types": ["card"],
        "status": if paid { "succeeded" } else { "requires_payment_method" },
    })
}

pub(crate) fn charge(charge: &Charge) -> Value {
    json!({
        "id": charge.id,
        "object": "charge",
        "amount": charge.amount,
        "amount_captured": charge.amount,
        "amount_refunded": charge.amount_refunded,
        "captured": true,
        "created": charge.created,
        "currency": charge.currency,
        "customer": null,
        "description": charge.description,
        "disputed": false,
        "livemode": false,
        "metadata": charge.metadata,
        "paid": true,
        "payment_intent": charge.intent,
        "refunded": charge.amount_refunded == charge.amount,
        "status": "succeeded",
    })
}

pub(crate) fn refund(refund: &Refund) -> Value {
    json!({
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "charge": refund.charge,
        "created": refund.created,
        "currency": refund.currency,
        "metadata": refund.metadata,
        "payment_intent": refund.intent,
        "reason": refund.reason,
        "status": "succeeded",
    })
}

/// An event; `pending_webhooks` is 1 until its delivery is acknowledged.
pub(crate) fn event(event: &Event, pending_webhooks: u8) -> Value {
    json!({
        "id": event.id,
        "object": "event",
        "api_version": API_VERSION,
        "created": event.created,
        "data": { "object": event.object },
        "livemode": false,
        "pending_webhooks": pending_webhooks,
        "request": { "id": event.request_id, "idempotency_key": event.idempotency_key },
        "type": event.kind,
    })
}
