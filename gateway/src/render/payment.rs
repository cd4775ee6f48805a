//! Prices, orders, refunds and what an operator looks at.

use quire_proto::payment::v1 as pb;
use serde_json::{Value, json};

use super::{number_or_null, or_null, time, word};

pub(crate) fn money(money: Option<&pb::Money>) -> Value {
    money.map_or(
        Value::Null,
        |money| json!({ "amount_minor": money.amount_minor, "currency": money.currency }),
    )
}

pub(crate) fn quote(answer: &pb::CalculatePriceResponse) -> Value {
    json!({
        "pages": answer.pages,
        "price_per_page": money(answer.price_per_page.as_ref()),
        "total": money(answer.total.as_ref()),
    })
}

pub(crate) fn order(order: &pb::Order) -> Value {
    json!({
        "id": order.id,
        "document_id": order.document_id,
        "pages": order.pages,
        "language": order.language,
        "price_per_page": money(order.price_per_page.as_ref()),
        "price_version": order.price_version,
        "total": money(order.total.as_ref()),
        "refunded": money(order.refunded.as_ref()),
        "status": word(order.status().as_str_name(), "ORDER_STATUS_"),
        "disputed": order.disputed,
        "method": word(order.method().as_str_name(), "PAYMENT_METHOD_"),
        "checkout_url": or_null(&order.checkout_url),
        "job_id": or_null(&order.job_id),
        "delivered_pages": number_or_null(order.delivered_pages),
        "created_at": time(order.created_at.as_ref()),
        "paid_at": time(order.paid_at.as_ref()),
        "expires_at": time(order.expires_at.as_ref()),
    })
}

pub(crate) fn verdict(verdict: pb::WebhookVerdict) -> String {
    word(verdict.as_str_name(), "WEBHOOK_VERDICT_")
}

pub(crate) fn refund(refund: &pb::Refund) -> Value {
    json!({
        "id": refund.id,
        "order_id": refund.order_id,
        "amount": money(refund.amount.as_ref()),
        "status": word(refund.status().as_str_name(), "REFUND_STATUS_"),
        "reason": refund.reason,
        "note": or_null(&refund.note),
        "created_at": time(refund.created_at.as_ref()),
        "decided_at": time(refund.decided_at.as_ref()),
    })
}

pub(crate) fn finding(finding: &pb::Finding) -> Value {
    json!({
        "kind": word(finding.kind().as_str_name(), "FINDING_KIND_"),
        "order_id": or_null(&finding.order_id),
        "subject": or_null(&finding.subject),
        "detail": finding.detail,
        "mended": finding.mended,
    })
}

pub(crate) fn dead_letter(letter: &pb::DeadLetter) -> Value {
    json!({
        "kind": word(letter.kind().as_str_name(), "DEAD_LETTER_KIND_"),
        "id": letter.id,
        "order_id": or_null(&letter.order_id),
        "subject": letter.subject,
        "attempts": letter.attempts,
        "last_error": letter.last_error,
        "created_at": time(letter.created_at.as_ref()),
    })
}
