//! The order of a quote, and the request that asks the provider to have it paid.

use std::time::Duration;

use quire_proto::document::v1::Document;
use url::form_urlencoded::Serializer;

use super::Checkout;
use crate::pricing::Quote;
use crate::store::entity::orders::{Method, Model as Order, OrderStatus};

/// The provider refuses sessions that live longer than 24 hours; its clock may be behind ours.
const CLOCK_MARGIN: Duration = Duration::from_secs(60);
/// Characters of the title shown on the provider's page.
const MAX_TITLE: usize = 120;

impl Checkout {
    pub(super) fn draft(&self, document: &Document, user_id: &str, quote: Quote, method: Method) -> Order {
        let id = self.world.id();
        let now = self.world.now();
        let expires_at = now.plus(self.life);
        let provider_request = match method {
            Method::Checkout => {
                self.session_form(&id, document, quote, expires_at.minus(CLOCK_MARGIN).unix_seconds())
            }
            Method::Intent => intent_form(&id, document, quote),
        };
        Order {
            provider_request,
            id,
            document_id: document.id.clone(),
            user_id: user_id.to_owned(),
            pages: quote.pages,
            unit_minor: quote.unit_minor,
            amount_minor: quote.total_minor,
            currency: quote.currency.code().to_owned(),
            status: OrderStatus::Open,
            method,
            checkout_session_id: None,
            checkout_url: None,
            intent_id: None,
            provider_payment_id: None,
            job_id: None,
            created_at: now.unix_micros(),
            paid_at: None,
            expires_at: expires_at.unix_micros(),
            checked_at: now.unix_micros(),
            language: document.language.clone(),
            price_version: self.pricing.version(),
            delivered_pages: 0,
            refunded_minor: 0,
            disputed: false,
            audit_seq: 0,
            audit_hash: String::new(),
        }
    }

    /// The body of the provider request. The ids are in the metadata of the session and of the payment, since
    /// each kind of event shows only one of them.
    fn session_form(
        &self,
        order_id: &str,
        document: &Document,
        quote: Quote,
        expires_at_seconds: i64,
    ) -> String {
        let back = |page: &str| {
            let base = self.public_url.as_str().trim_end_matches('/');
            format!("{base}/payment/{page}?order_id={order_id}")
        };
        Serializer::new(String::new())
            .append_pair("mode", "payment")
            .append_pair("client_reference_id", order_id)
            .append_pair("metadata[order_id]", order_id)
            .append_pair("metadata[document_id]", &document.id)
            .append_pair("payment_intent_data[metadata][order_id]", order_id)
            .append_pair("payment_intent_data[metadata][document_id]", &document.id)
            .append_pair("line_items[0][quantity]", &quote.pages.to_string())
            .append_pair("line_items[0][price_data][currency]", &quote.currency.code().to_ascii_lowercase())
            .append_pair("line_items[0][price_data][unit_amount]", &quote.unit_minor.to_string())
            .append_pair("line_items[0][price_data][product_data][name]", &title(document))
            .append_pair("line_items[0][price_data][product_data][description]", &description(quote))
            .append_pair("success_url", &back("success"))
            .append_pair("cancel_url", &back("cancel"))
            .append_pair("expires_at", &expires_at_seconds.to_string())
            .finish()
    }
}

fn intent_form(order_id: &str, document: &Document, quote: Quote) -> String {
    Serializer::new(String::new())
        .append_pair("amount", &quote.total_minor.to_string())
        .append_pair("currency", &quote.currency.code().to_ascii_lowercase())
        .append_pair("metadata[order_id]", order_id)
        .append_pair("metadata[document_id]", &document.id)
        .append_pair("description", &format!("{}: {}", title(document), description(quote)))
        .append_pair("automatic_payment_methods[enabled]", "true")
        .finish()
}

fn title(document: &Document) -> String {
    let title: String =
        document.title.chars().filter(|letter| !letter.is_control()).take(MAX_TITLE).collect();
    if title.trim().is_empty() { "Document".to_owned() } else { title }
}

fn description(quote: Quote) -> String {
    format!("{} pages at {} each", quote.pages, quote.currency.show(quote.unit_minor))
}
