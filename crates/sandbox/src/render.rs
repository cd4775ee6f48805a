//! The stored rows as Stripe's JSON objects.

use serde_json::{Value, json};

use crate::methods::Method;
use crate::record::{
    Charge, ChargeStatus, Dispute, DisputeStatus, Event, Intent, IntentStatus, Refund, RefundStatus, Session,
    SessionStatus,
};

/// The version of Stripe's API whose field names are used.
const API_VERSION: &str = "2026-10-28.endive";

/// The fields of a payment intent that a publishable key may see.
const BROWSER_FIELDS: [&str; 17] = [
    "id",
    "object",
    "amount",
    "automatic_payment_methods",
    "canceled_at",
    "cancellation_reason",
    "capture_method",
    "client_secret",
    "confirmation_method",
    "created",
    "currency",
    "description",
    "last_payment_error",
    "livemode",
    "next_action",
    "payment_method_types",
    "status",
];

pub(crate) fn session(session: &Session, public_url: &str) -> Value {
    let open = session.status == SessionStatus::Open;
    let paid = session.status == SessionStatus::Complete && !session.unpaid;
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
        "payment_method_types": session.method_types,
        "payment_status": if paid { "paid" } else { "unpaid" },
        "status": session.status,
        "success_url": session.success_url,
        "ui_mode": "hosted",
        "url": open.then(|| format!("{public_url}/pay/{}", session.id)),
    })
}

pub(crate) fn intent(intent: &Intent, public_url: &str) -> Value {
    let received = if intent.status == IntentStatus::Succeeded { intent.amount } else { 0 };
    json!({
        "id": intent.id,
        "object": "payment_intent",
        "amount": intent.amount,
        "amount_capturable": 0,
        "amount_received": received,
        "canceled_at": intent.canceled_at,
        "cancellation_reason": intent.cancellation_reason,
        "capture_method": "automatic",
        "client_secret": intent.client_secret,
        "confirmation_method": "automatic",
        "created": intent.created,
        "currency": intent.currency,
        "customer": null,
        "description": intent.description,
        "last_payment_error": intent.failure.map(|failure| json!({
            "type": failure.kind(),
            "code": failure.code(),
            "decline_code": failure.decline_code(),
            "message": failure.message(),
        })),
        "latest_charge": intent.latest_charge,
        "livemode": false,
        "metadata": intent.metadata,
        "next_action": next_action(intent, public_url),
        "payment_method": intent.method.map(Method::id),
        "payment_method_types": intent.method_types,
        "status": intent.status,
    })
}

/// Where the buyer has to go, if the payment waits for that.
fn next_action(intent: &Intent, public_url: &str) -> Option<Value> {
    let secret = intent.client_secret.as_deref().filter(|_| intent.status == IntentStatus::RequiresAction)?;
    Some(json!({
        "type": "redirect_to_url",
        "redirect_to_url": {
            "return_url": intent.return_url,
            "url": format!("{public_url}/authenticate/{}?client_secret={secret}", intent.id),
        },
    }))
}

/// What a buyer's browser may see of a payment intent.
pub(crate) fn for_browser(mut intent: Value) -> Value {
    if let Some(fields) = intent.as_object_mut() {
        fields.retain(|name, _| BROWSER_FIELDS.contains(&name.as_str()));
    }
    intent
}

pub(crate) fn charge(charge: &Charge) -> Value {
    let succeeded = charge.status == ChargeStatus::Succeeded;
    let kind = charge.method.type_name(&charge.currency);
    json!({
        "id": charge.id,
        "object": "charge",
        "amount": charge.amount,
        "amount_captured": if succeeded { charge.amount } else { 0 },
        "amount_refunded": charge.amount_refunded,
        "captured": succeeded,
        "created": charge.created,
        "currency": charge.currency,
        "customer": null,
        "description": charge.description,
        "disputed": charge.disputed,
        "failure_code": charge.failure.map(|failure| failure.decline_code().unwrap_or(failure.code())),
        "failure_message": charge.failure.map(|failure| failure.message()),
        "livemode": false,
        "metadata": charge.metadata,
        "paid": succeeded,
        "payment_intent": charge.intent,
        "payment_method": charge.method.id(),
        "payment_method_details": { "type": kind, kind: {} },
        "refunded": charge.amount_refunded == charge.amount,
        "status": charge.status,
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
        "failure_reason": (refund.status == RefundStatus::Failed).then_some("unknown"),
        "metadata": refund.metadata,
        "payment_intent": refund.intent,
        "reason": refund.reason,
        "status": refund.status,
    })
}

pub(crate) fn dispute(dispute: &Dispute) -> Value {
    json!({
        "id": dispute.id,
        "object": "dispute",
        "amount": dispute.amount,
        "charge": dispute.charge,
        "created": dispute.created,
        "currency": dispute.currency,
        "evidence": {},
        "is_charge_refundable": dispute.status == DisputeStatus::Won,
        "livemode": false,
        "metadata": {},
        "payment_intent": dispute.intent,
        "reason": dispute.reason,
        "status": dispute.status,
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
