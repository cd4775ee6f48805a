//! Domain types as messages, and back.

use quire_proto::payment::v1 as pb;
use quire_proto::timestamp;

use crate::dead_letters::{DeadLetter, What};
use crate::inbox::Verdict;
use crate::orders::Page;
use crate::pricing::{Pricing, Quote};
use crate::reconcile::{Finding, Kind};
use crate::settle::Outcome;
use crate::store::entity::inbox::InboxStatus;
use crate::store::entity::orders::{Method, Model as Order, OrderStatus};
use crate::store::entity::refunds::{Model as Refund, RefundStatus};

pub(crate) fn pricing(pricing: &Pricing) -> pb::GetPricingResponse {
    pb::GetPricingResponse {
        price_per_page: Some(money(pricing.page_minor, pricing.currency.code())),
        min_pages: pricing.min_pages,
        max_pages: pricing.max_pages,
    }
}

pub(crate) fn quote(quote: &Quote) -> pb::CalculatePriceResponse {
    pb::CalculatePriceResponse {
        pages: quote.pages,
        price_per_page: Some(money(quote.unit_minor, quote.currency.code())),
        total: Some(money(quote.total_minor, quote.currency.code())),
    }
}

pub(crate) fn order(order: Order) -> pb::Order {
    let payable = order.status == OrderStatus::Open;
    pb::Order {
        total: Some(money(order.amount_minor, &order.currency)),
        status: status(order.status).into(),
        id: order.id,
        document_id: order.document_id,
        user_id: order.user_id,
        pages: order.pages,
        checkout_url: order.checkout_url.filter(|_| payable).unwrap_or_default(),
        job_id: order.job_id.unwrap_or_default(),
        created_at: Some(timestamp(order.created_at)),
        paid_at: order.paid_at.map(timestamp),
        expires_at: Some(timestamp(order.expires_at)),
        refunded: Some(money(order.refunded_minor, &order.currency)),
        disputed: order.disputed,
        language: order.language,
        price_version: order.price_version,
        price_per_page: Some(money(order.unit_minor, &order.currency)),
        delivered_pages: order.delivered_pages,
        method: match order.method {
            Method::Checkout => pb::PaymentMethod::Checkout.into(),
            Method::Intent => pb::PaymentMethod::Intent.into(),
        },
    }
}

pub(crate) fn refund(refund: Refund) -> pb::Refund {
    pb::Refund {
        id: refund.id,
        order_id: refund.order_id,
        amount: Some(money(refund.amount_minor, &refund.currency)),
        status: refund_status(refund.status).into(),
        reason: refund.reason,
        note: refund.note,
        created_at: Some(timestamp(refund.created_at)),
        decided_at: refund.decided_at.map(timestamp),
    }
}

fn refund_status(status: RefundStatus) -> pb::RefundStatus {
    match status {
        RefundStatus::Requested => pb::RefundStatus::Requested,
        RefundStatus::Rejected => pb::RefundStatus::Rejected,
        RefundStatus::Pending => pb::RefundStatus::Pending,
        RefundStatus::Succeeded => pb::RefundStatus::Succeeded,
        RefundStatus::Failed => pb::RefundStatus::Failed,
    }
}

/// Nothing: all.
pub(crate) fn refund_status_wanted(status: pb::RefundStatus) -> Option<RefundStatus> {
    match status {
        pb::RefundStatus::Unspecified => None,
        pb::RefundStatus::Requested => Some(RefundStatus::Requested),
        pb::RefundStatus::Rejected => Some(RefundStatus::Rejected),
        pb::RefundStatus::Pending => Some(RefundStatus::Pending),
        pb::RefundStatus::Succeeded => Some(RefundStatus::Succeeded),
        pb::RefundStatus::Failed => Some(RefundStatus::Failed),
    }
}

pub(crate) fn finding(finding: Finding) -> pb::Finding {
    let kind = match finding.kind {
        Kind::EventMissed => pb::FindingKind::EventMissed,
        Kind::OrderBehind => pb::FindingKind::OrderBehind,
        Kind::PaidWithoutJob => pb::FindingKind::PaidWithoutJob,
        Kind::JobWithoutPayment => pb::FindingKind::JobWithoutPayment,
        Kind::OutcomeMissed => pb::FindingKind::OutcomeMissed,
        Kind::RefundDiffers => pb::FindingKind::RefundDiffers,
        Kind::LedgerUnbalanced => pb::FindingKind::LedgerUnbalanced,
    };
    pb::Finding {
        kind: kind.into(),
        order_id: finding.order_id,
        subject: finding.subject,
        detail: finding.detail,
        mended: finding.mended,
    }
}

pub(crate) fn dead_letter(letter: DeadLetter) -> pb::DeadLetter {
    let kind = match letter.what {
        What::Event => pb::DeadLetterKind::Event,
        What::Task => pb::DeadLetterKind::Task,
    };
    pb::DeadLetter {
        kind: kind.into(),
        id: letter.id,
        order_id: letter.order_id,
        subject: letter.subject,
        attempts: letter.attempts,
        last_error: letter.last_error,
        created_at: Some(timestamp(letter.created_at)),
    }
}

pub(crate) fn dead_letter_kind(kind: pb::DeadLetterKind) -> Option<What> {
    match kind {
        pb::DeadLetterKind::Unspecified => None,
        pb::DeadLetterKind::Event => Some(What::Event),
        pb::DeadLetterKind::Task => Some(What::Task),
    }
}

pub(crate) fn page(page: Page) -> pb::ListOrdersResponse {
    pb::ListOrdersResponse {
        orders: page.orders.into_iter().map(order).collect(),
        next_page_token: page.next.unwrap_or_default(),
    }
}

pub(crate) fn status(status: OrderStatus) -> pb::OrderStatus {
    match status {
        OrderStatus::Open => pb::OrderStatus::Open,
        OrderStatus::Processing => pb::OrderStatus::Processing,
        OrderStatus::Paid => pb::OrderStatus::Paid,
        OrderStatus::Delivered => pb::OrderStatus::Delivered,
        OrderStatus::RefundPending => pb::OrderStatus::RefundPending,
        OrderStatus::Refunded => pb::OrderStatus::Refunded,
        OrderStatus::Expired => pb::OrderStatus::Expired,
        OrderStatus::Quarantined => pb::OrderStatus::Quarantined,
    }
}

pub(crate) fn outcome(outcome: pb::JobOutcome) -> Option<Outcome> {
    match outcome {
        pb::JobOutcome::Unspecified => None,
        pb::JobOutcome::Delivered => Some(Outcome::Delivered),
        pb::JobOutcome::Failed => Some(Outcome::Failed),
        pb::JobOutcome::Cancelled => Some(Outcome::Cancelled),
    }
}

pub(crate) fn verdict(verdict: Verdict) -> pb::HandleWebhookResponse {
    let (verdict, reason) = match verdict {
        Verdict::Duplicate => (pb::WebhookVerdict::Duplicate, ""),
        Verdict::Deferred => (pb::WebhookVerdict::Deferred, ""),
        Verdict::Stored { status, reason } => (stored(status), reason),
    };
    pb::HandleWebhookResponse { verdict: verdict.into(), reason: reason.to_owned() }
}

fn stored(status: InboxStatus) -> pb::WebhookVerdict {
    match status {
        InboxStatus::Received | InboxStatus::Dead => pb::WebhookVerdict::Deferred,
        InboxStatus::Done => pb::WebhookVerdict::Accepted,
        InboxStatus::Parked => pb::WebhookVerdict::Parked,
        InboxStatus::Ignored => pb::WebhookVerdict::Ignored,
        InboxStatus::Quarantined => pb::WebhookVerdict::Quarantined,
    }
}

fn money(amount_minor: i64, currency: &str) -> pb::Money {
    pb::Money { amount_minor, currency: currency.to_owned() }
}
