//! Prices and checkouts.

use std::time::Duration;

use quire_fault::{Fault, Kind, Rule, Violation};
use quire_proto::payment::v1 as pb;
use quire_testkit::Backend;
use tonic::Code;

use crate::events::session_event;
use crate::ledger::{count, tamper};
use crate::peers::PAGES;
use crate::stage::Stage;

quire_testkit::on_both_databases!(
    a_price_is_told_and_pages_outside_the_bounds_are_refused,
    a_checkout_is_opened_at_the_provider_with_the_locked_price,
    concurrent_checkouts_of_a_document_are_one,
    a_refusal_of_the_document_service_passes_through_and_nothing_is_ordered,
    an_unreachable_provider_leaves_an_order_that_goes_on_after_a_restart,
    a_crash_after_the_provider_answered_finds_the_same_session,
    a_paid_document_is_not_sold_again,
    a_checkout_that_ran_out_is_released_and_can_be_opened_again,
    the_sweep_ends_an_order_that_nobody_came_back_to,
    a_payment_that_no_webhook_told_of_is_found_by_the_sweep,
    a_payment_that_no_webhook_told_of_is_found_long_before_the_expiry,
    an_overdue_order_that_the_provider_does_not_know_is_swept,
    a_checkout_that_the_provider_does_not_know_is_replaced,
);

async fn a_price_is_told_and_pages_outside_the_bounds_are_refused(backend: Backend) {
    let stage = Stage::with_settings(backend, &[("QUIRE_PRICE_PER_PAGE_MINOR", "75")]).await;
    let server = stage.start().await;
    let mut client = server.client.clone();
    let pricing = client.get_pricing(pb::GetPricingRequest {}).await.unwrap().into_inner();
    let price = pb::Money { amount_minor: 75, currency: "EUR".to_owned() };
    assert_eq!(pricing.price_per_page, Some(price));
    assert_eq!((pricing.min_pages, pricing.max_pages), (3, 1000));
    let price =
        client.calculate_price(pb::CalculatePriceRequest { pages: Some(12) }).await.unwrap().into_inner();
    assert_eq!(price.total.unwrap().amount_minor, 900);
    for (pages, rule) in [
        (None, Rule::Missing),
        (Some(0), Rule::GreaterThanEqual(1)),
        (Some(-1), Rule::GreaterThanEqual(1)),
        (Some(1001), Rule::LessThanEqual(1000)),
    ] {
        let status = client.calculate_price(pb::CalculatePriceRequest { pages }).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(Fault::from(&status).violations, vec![Violation::new("pages", rule)]);
    }
}

async fn a_checkout_is_opened_at_the_provider_with_the_locked_price(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    assert_eq!(order.status(), pb::OrderStatus::Open);
    assert_eq!(order.pages, PAGES);
    assert_eq!(order.total, Some(pb::Money { amount_minor: 600, currency: "EUR".to_owned() }));
    assert!(order.checkout_url.starts_with(stage.sandbox.url()));
    let sessions = stage.provider("/v1/checkout/sessions").await;
    let session = &sessions["data"][0];
    assert_eq!(session["amount_total"], 600);
    assert_eq!(session["client_reference_id"], order.id.as_str());
    assert_eq!(session["metadata"]["order_id"], order.id.as_str());
    assert_eq!(session["metadata"]["document_id"], "document");

    // A new price list changes nothing for who has a quote.
    let dearer = stage.start_with(&[("QUIRE_PRICE_PER_PAGE_MINOR", "99")]).await;
    let again = stage.checkout(&dearer.client, "document").await.unwrap();
    assert_eq!(again, order);
    let without_token =
        pb::CreateCheckoutRequest { document_id: "document".to_owned(), ..Default::default() };
    let status = server.client.clone().create_checkout(without_token).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

async fn concurrent_checkouts_of_a_document_are_one(backend: Backend) {
    let stage = Stage::new(backend).await;
    let (first, second) = (stage.start().await, stage.start().await);
    let calls = (0..20).map(|call| {
        let client = if call % 2 == 0 { &first.client } else { &second.client };
        stage.checkout(client, "document")
    });
    let orders: Vec<pb::Order> =
        futures::future::join_all(calls).await.into_iter().collect::<Result<_, _>>().unwrap();
    assert!(orders.iter().all(|order| *order == orders[0]));
    let sessions = stage.provider("/v1/checkout/sessions").await;
    assert_eq!(sessions["data"].as_array().unwrap().len(), 1);
    assert_eq!(count(&stage, "orders").await, 1);
}

async fn a_refusal_of_the_document_service_passes_through_and_nothing_is_ordered(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let refusal =
        Fault::invalid_field("target_pages", Rule::LessThanEqual(7)).with_metadata("max_pages", "7");
    stage.change_peers(|book| book.refusal = Some(refusal.clone()));
    let fault = stage.checkout(&server.client, "document").await.unwrap_err();
    assert_eq!(fault, refusal);
    assert_eq!(count(&stage, "orders").await, 0);
    let sessions = stage.provider("/v1/checkout/sessions").await;
    assert_eq!(sessions["data"].as_array().unwrap().len(), 0);
}

async fn an_unreachable_provider_leaves_an_order_that_goes_on_after_a_restart(backend: Backend) {
    let stage = Stage::new(backend).await;
    let nowhere = format!("http://127.0.0.1:{}", quire_testkit::free_port());
    let server = stage.start_with(&[("QUIRE_STRIPE_URL", &nowhere)]).await;
    let fault = stage.checkout(&server.client, "document").await.unwrap_err();
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Unavailable, "PROVIDER_UNAVAILABLE"));
    assert!(fault.retry_after.is_some());
    server.crash();

    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    assert!(!order.checkout_url.is_empty());
    assert_eq!(count(&stage, "orders").await, 1);
    // It went on where it had stopped: the document was asked once.
    assert_eq!(stage.book.borrow().prepared.len(), 1);
}

async fn a_crash_after_the_provider_answered_finds_the_same_session(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let before = stage.checkout(&server.client, "document").await.unwrap();
    server.crash();
    tamper(&stage, "UPDATE orders SET checkout_session_id = NULL, checkout_url = NULL").await;

    // Other settings, and still the same request: the provider refuses another one under the same key.
    let server = stage.start_with(&[("QUIRE_PUBLIC_URL", "https://moved.example")]).await;
    let after = stage.checkout(&server.client, "document").await.unwrap();
    assert_eq!(after, before);
    let sessions = stage.provider("/v1/checkout/sessions").await;
    assert_eq!(sessions["data"].as_array().unwrap().len(), 1);
}

async fn a_paid_document_is_not_sold_again(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    stage.pay(&order).await;
    stage.sandbox.drained().await;
    let fault = stage.checkout(&server.client, "document").await.unwrap_err();
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Conflict, "ALREADY_PAID"));
    let paid = stage.order(&server.client, &order.id).await;
    assert_eq!(paid.checkout_url, "");
    assert!(paid.paid_at.is_some());
}

async fn a_checkout_that_ran_out_is_released_and_can_be_opened_again(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let first = stage.checkout(&server.client, "document").await.unwrap();
    stage.clock.advance(Duration::from_secs(25 * 3600));
    stage.sandbox.tick().await;
    stage.sandbox.drained().await;
    let expired = stage.order(&server.client, &first.id).await;
    assert_eq!(expired.status(), pb::OrderStatus::Expired);
    stage.peers_were(|book| book.released == ["document"]).await;
    let second = loop {
        match stage.checkout(&server.client, "document").await {
            Ok(order) => break order,
            // The release has reached the document, but not yet the outbox.
            Err(fault) => assert_eq!(fault.reason, "CHECKOUT_CLOSING"),
        }
    };
    assert_ne!(second.id, first.id);
    // The old session's events, once more and late, do not touch the new order.
    let stale = session_event("evt_stale", "checkout.session.expired", &first, serde_json::json!({}));
    stage.deliver(&server.client, &stale).await.unwrap();
    assert_eq!(stage.order(&server.client, &second.id).await.status(), pb::OrderStatus::Open);
}

async fn the_sweep_ends_an_order_that_nobody_came_back_to(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    server.crash();
    // As if the crash had come before the provider was called.
    tamper(&stage, "UPDATE orders SET checkout_session_id = NULL, checkout_url = NULL").await;
    stage.clock.advance(Duration::from_secs(25 * 3600));
    let server = stage.start().await;
    stage.peers_were(|book| book.released == ["document"]).await;
    let order = stage.order(&server.client, &order.id).await;
    assert_eq!(order.status(), pb::OrderStatus::Expired);
}

async fn a_payment_that_no_webhook_told_of_is_found_by_the_sweep(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    stage.sandbox.set_behaviour(quire_sandbox::Behaviour { hold: true, ..Default::default() });
    stage.pay(&order).await;
    server.crash();
    stage.forget_servers();
    stage.clock.advance(Duration::from_secs(25 * 3600));
    let server = stage.start().await;
    stage.peers_were(|book| book.started.len() == 1).await;
    let order = stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(order.status(), pb::OrderStatus::Paid);
    // The webhooks come at last: nothing more happens.
    stage.sandbox.set_behaviour(quire_sandbox::Behaviour::default());
    stage.sandbox.drained().await;
    assert_eq!(count(&stage, "inbox_events").await, 3);
    assert_eq!(count(&stage, "ledger_entries").await, 2);
    assert_eq!(stage.book.borrow().started.len(), 1);
}

async fn a_payment_that_no_webhook_told_of_is_found_long_before_the_expiry(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    stage.sandbox.set_behaviour(quire_sandbox::Behaviour { hold: true, ..Default::default() });
    let open = stage.checkout(&server.client, "document").await.unwrap();
    let processing = stage.checkout(&server.client, "another document").await.unwrap();
    let unpaid = serde_json::json!({ "payment_status": "unpaid" });
    let event = session_event("evt_unpaid", "checkout.session.completed", &processing, unpaid);
    stage.deliver(&server.client, &event).await.unwrap();
    let waiting = stage.checkout(&server.client, "a third document").await.unwrap();
    stage.pay(&open).await;
    stage.pay(&processing).await;
    server.crash();
    stage.forget_servers();
    stage.clock.advance(Duration::from_secs(6 * 60));
    let server = stage.start().await;
    for order in [&open, &processing] {
        let order = stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
        assert_eq!(order.status(), pb::OrderStatus::Paid);
    }
    // Who has not paid may still do so.
    assert_eq!(stage.checkout(&server.client, "a third document").await.unwrap(), waiting);
}

async fn an_overdue_order_that_the_provider_does_not_know_is_swept(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    server.crash();
    tamper(&stage, "UPDATE orders SET checkout_session_id = 'cs_of_nobody'").await;
    stage.clock.advance(Duration::from_secs(25 * 3600));
    let server = stage.start().await;
    stage.peers_were(|book| book.released == ["document"]).await;
    assert_eq!(stage.order(&server.client, &order.id).await.status(), pb::OrderStatus::Expired);
}

async fn a_checkout_that_the_provider_does_not_know_is_replaced(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let first = stage.checkout(&server.client, "document").await.unwrap();
    tamper(&stage, "UPDATE orders SET checkout_session_id = 'cs_of_nobody'").await;
    stage.clock.advance(Duration::from_secs(24 * 3600 + 1));
    let second = stage.checkout(&server.client, "document").await.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(stage.order(&server.client, &first.id).await.status(), pb::OrderStatus::Expired);
}
