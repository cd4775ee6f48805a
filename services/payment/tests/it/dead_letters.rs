//! What cannot be done is given up after some tries, does not hold up the rest, and is done once it can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use quire_proto::payment::v1 as pb;
use quire_proto::payment::v1::DeadLetterKind;
use quire_testkit::Backend;
use serde_json::json;
use tokio::net::TcpListener;

use crate::events::session_event;
use crate::ledger::{balances, count, tamper};
use crate::sabotage::{Panics, accept_inserts, refuse_inserts};
use crate::settle::settle;
use crate::stage::Stage;

quire_testkit::on_both_databases!(
    an_event_that_breaks_the_program_is_tried_again_without_the_provider,
    an_event_that_cannot_be_applied_dies_and_comes_back_when_it_can,
    a_refund_that_is_refused_for_good_dies_and_is_redriven,
);

async fn an_event_that_breaks_the_program_is_tried_again_without_the_provider(backend: Backend) {
    let stage = Stage::new(backend).await;
    let breaking = Panics::within(&stage.world, "payment.webhook.stored", 1);
    let server = stage.start_in(breaking, &[]).await;
    let client = &server.client;
    let first = stage.checkout(client, "document").await.unwrap();
    let second = stage.checkout(client, "another document").await.unwrap();
    let poison = session_event("evt_1", "checkout.session.completed", &first, json!({}));
    let answer = stage.deliver(client, &poison).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Deferred);
    let stored = "inbox_events WHERE status = 'received' AND attempts = 1 AND last_error = 'panicked'";
    assert_eq!(count(&stage, stored).await, 1);
    assert_eq!(stage.order(client, &first.id).await.status(), pb::OrderStatus::Open);
    // Others go on.
    let other = json!({ "payment_intent": "pi_2" });
    let other = session_event("evt_2", "checkout.session.completed", &second, other);
    let answer = stage.deliver(client, &other).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Accepted);
    stage.order_is(client, &second.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(stage.order(client, &first.id).await.status(), pb::OrderStatus::Open);
    stage.clock.advance(Duration::from_secs(6));
    stage.order_is(client, &first.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(stage.book.borrow().started.len(), 2);
    assert_eq!(count(&stage, "inbox_events WHERE status = 'done'").await, 2);
    assert_eq!(stage.dead_letters(client).await, vec![]);
}

async fn an_event_that_cannot_be_applied_dies_and_comes_back_when_it_can(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = stage.checkout(client, "document").await.unwrap();
    refuse_inserts(&stage, "ledger_entries", &format!("NEW.order_id = '{}'", order.id)).await;
    let poison = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    // The provider sends it again and again, and each time it is tried at once.
    for tries in 1..12 {
        let answer = stage.deliver(client, &poison).await.unwrap();
        assert_eq!(answer.verdict(), pb::WebhookVerdict::Deferred);
        assert_eq!(count(&stage, &format!("inbox_events WHERE attempts = {tries}")).await, 1);
    }
    assert_eq!(stage.dead_letters(client).await, vec![]);
    stage.deliver(client, &poison).await.unwrap();
    let dead = stage.dead_letters(client).await;
    assert_eq!(dead.len(), 1);
    let letter = &dead[0];
    assert_eq!((letter.kind(), letter.id.as_str()), (DeadLetterKind::Event, "evt_1"));
    let expected = (order.id.as_str(), "checkout.session.completed", 12);
    assert_eq!((letter.order_id.as_str(), letter.subject.as_str(), letter.attempts), expected);
    assert_eq!(letter.last_error, "the database failed");
    // It is not tried any more by itself, and others go on.
    stage.clock.advance(Duration::from_secs(6 * 3600));
    let other = stage.checkout(client, "another document").await.unwrap();
    let paid = json!({ "payment_intent": "pi_2" });
    let paid = session_event("evt_2", "checkout.session.completed", &other, paid);
    assert_eq!(stage.deliver(client, &paid).await.unwrap().verdict(), pb::WebhookVerdict::Accepted);
    stage.order_is(client, &other.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(count(&stage, "inbox_events WHERE status = 'dead'").await, 1);
    // Redriven too early it is tried, and fails as before.
    assert!(stage.redrive(client, DeadLetterKind::Event, "evt_1").await);
    assert_eq!(count(&stage, "inbox_events WHERE status = 'received' AND attempts = 1").await, 1);
    assert!(!stage.redrive(client, DeadLetterKind::Event, "evt_1").await, "it is not dead");

    tamper(&stage, "UPDATE inbox_events SET status = 'dead' WHERE event_id = 'evt_1'").await;
    accept_inserts(&stage, "ledger_entries").await;
    for (kind, id) in [
        (DeadLetterKind::Event, "evt_2"),
        (DeadLetterKind::Event, "evt_unknown"),
        (DeadLetterKind::Event, "\0"),
        (DeadLetterKind::Task, "evt_1"),
    ] {
        assert!(!stage.redrive(client, kind, id).await, "{id}");
    }
    assert!(stage.redrive(client, DeadLetterKind::Event, "evt_1").await);
    stage.peers_were(|book| book.jobs.contains_key(&order.id)).await;
    assert!(!stage.redrive(client, DeadLetterKind::Event, "evt_1").await, "it is done");
    let again = stage.deliver(client, &poison).await.unwrap();
    assert_eq!(again.verdict(), pb::WebhookVerdict::Duplicate);
    assert_eq!(stage.dead_letters(client).await, vec![]);
    let started = stage.book.borrow().started.clone();
    assert_eq!(started.iter().filter(|call| call.order_id == order.id).count(), 1);
    assert_eq!(balances(&stage).await, vec![0; 2]);
}

/// A provider that has the session of an order, and makes refunds only once it may.
#[derive(Clone, Default)]
struct Strict {
    mended: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
}

impl Strict {
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let session = Json(json!({ "id": "cs_1", "url": format!("{url}/cs_1"), "status": "open" }));
        let empty = Json(json!({ "object": "list", "data": [], "has_more": false }));
        let none = empty.clone();
        let router = axum::Router::new()
            .route("/v1/checkout/sessions", post(|| async { session }))
            .route("/v1/events", get(|| async { empty }))
            .route("/v1/refunds", post(refund).get(|| async { none }))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }
}

async fn refund(State(strict): State<Strict>) -> axum::response::Response {
    if strict.mended.load(Ordering::SeqCst) {
        let made = json!({ "id": "re_1", "amount": 600, "currency": "eur", "status": "succeeded", "payment_intent": "pi_1" });
        return Json(made).into_response();
    }
    strict.refused.fetch_add(1, Ordering::SeqCst);
    let error = json!({ "error": { "code": "insufficient_funds", "message": "ada@example.org" } });
    (StatusCode::BAD_REQUEST, Json(error)).into_response()
}

async fn a_refund_that_is_refused_for_good_dies_and_is_redriven(backend: Backend) {
    let provider = Strict::default();
    let url = provider.serve().await;
    let stage = Stage::with_settings(backend, &[("QUIRE_STRIPE_URL", &url)]).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = stage.checkout(client, "document").await.unwrap();
    let paid = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    stage.deliver(client, &paid).await.unwrap();
    stage.order_is(client, &order.id, |order| !order.job_id.is_empty()).await;
    settle(&stage, client, &order.id, pb::JobOutcome::Failed).await.unwrap();
    // Its waits are for the provider, not for this test.
    stage
        .until("it is given up", async || {
            tamper(&stage, "UPDATE outbox SET next_at = 0 WHERE done_at IS NULL").await;
            !stage.dead_letters(client).await.is_empty()
        })
        .await;
    let letter = stage.dead_letters(client).await.remove(0);
    assert_eq!((letter.kind(), letter.attempts), (DeadLetterKind::Task, 10));
    assert_eq!(
        (letter.order_id.as_str(), letter.subject),
        (order.id.as_str(), format!("refund:{}", order.id))
    );
    assert!(
        letter.last_error.contains("insufficient_funds") && !letter.last_error.contains("ada"),
        "{letter:?}",
        letter = letter.last_error
    );
    assert_eq!(provider.refused.load(Ordering::SeqCst), 10);
    provider.mended.store(true, Ordering::SeqCst);
    assert!(!stage.redrive(client, DeadLetterKind::Event, &letter.id).await);
    assert!(stage.redrive(client, DeadLetterKind::Task, &letter.id).await);
    let refunded = |order: &pb::Order| order.status() == pb::OrderStatus::Refunded;
    stage.order_is(client, &order.id, refunded).await;
    stage.until("it is done", async || count(&stage, "outbox WHERE done_at IS NULL").await == 0).await;
    assert!(!stage.redrive(client, DeadLetterKind::Task, &letter.id).await);
    assert_eq!(stage.dead_letters(client).await, vec![]);
    assert_eq!(balances(&stage).await, vec![0]);
}
