//! Domain types as messages, and back.

use quire_proto::payment::v1 as pb;
use quire_proto::timestamp;

use crate::orders::Page;
use crate::pricing::{Pricing, Quote};
use crate::settle::Outcome;
use crate::store::entity::inbox::InboxStatus;
use crate::store::entity::orders::{Model as Order, OrderStatus};
use crate::webhook::Verdict;

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
        Verdict::Stored { status, reason } => (stored(status), reason),
    };
    pb::HandleWebhookResponse { verdict: verdict.into(), reason: reason.to_owned() }
}

fn stored(status: InboxStatus) -> pb::WebhookVerdict {
    match status {
        InboxStatus::Received | InboxStatus::Done => pb::WebhookVerdict::Accepted,
        InboxStatus::Parked => pb::WebhookVerdict::Parked,
        InboxStatus::Ignored => pb::WebhookVerdict::Ignored,
        InboxStatus::Quarantined => pb::WebhookVerdict::Quarantined,
    }
}

fn money(amount_minor: i64, currency: &str) -> pb::Money {
    pb::Money { amount_minor, currency: currency.to_owned() }
}
