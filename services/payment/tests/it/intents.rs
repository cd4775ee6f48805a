//! Payment intents: paid on the caller's own page, and one open way to pay at a time.

use std::time::Duration;

use quire_fault::Kind;
use quire_proto::payment::v1 as pb;
use quire_sandbox::{Behaviour, Decision};
use quire_testkit::Backend;
use serde_json::Value;

use crate::events::intent_event;
use crate::ledger::{balances, count};
use crate::stage::{Client, Stage};

quire_testkit::on_both_databases!(
    an_intent_is_paid_with_its_secret_and_starts_one_job,
    another_card_may_be_tried_and_a_debit_takes_its_time,
    a_debit_whose_failure_is_told_before_its_beginning_does_not_hold_the_order,
    a_checkout_closes_the_intent_before_it,
    an_intent_closes_the_checkout_before_it,
    what_was_paid_meanwhile_is_not_sold_again,
    an_intent_that_nobody_paid_ends_with_its_time,
    both_ways_at_once_leave_one_of_them_open,
);

/// The id of the intent that a client secret is for.
fn intent_of(secret: &str) -> &str {
    secret.split_once("_secret").unwrap().0
}

impl Stage {
    /// The customer's page confirms the payment with a card or debit of the provider's test set.
    async fn confirm(&self, secret: &str, method: &str) -> Value {
        let path = format!("/v1/payment_intents/{}/confirm", intent_of(secret));
        self.provider_post(&path, &[("payment_method", method), ("client_secret", secret)]).await
    }
}

async fn opened(stage: &Stage, client: &Client) -> (pb::Order, String) {
    let answer = stage.intent(client, "document").await.unwrap();
    (answer.order.unwrap(), answer.client_secret)
}

async fn an_intent_is_paid_with_its_secret_and_starts_one_job(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = [stage.start().await, stage.start().await];
    let client = &servers[0].client;
    let (order, secret) = opened(&stage, client).await;
    assert_eq!((order.status(), order.method()), (pb::OrderStatus::Open, pb::PaymentMethod::Intent));
    assert_eq!(order.checkout_url, "");
    let again = stage.intent(&servers[1].client, "document").await.unwrap();
    assert_eq!((again.order.unwrap(), again.client_secret), (order.clone(), secret.clone()));
    // The secret is told to who makes the intent, and nowhere else.
    let read = stage.order(client, &order.id).await;
    assert!(!format!("{read:?}").contains(&secret));
    let stored = count(&stage, &format!("idempotency_keys WHERE response LIKE '%{secret}%'")).await;
    assert_eq!(stored, 0);
    let made = stage.provider(&format!("/v1/payment_intents/{}", intent_of(&secret))).await;
    assert_eq!((made["amount"].as_i64(), made["currency"].as_str()), (Some(600), Some("eur")));
    assert_eq!(made["metadata"]["order_id"], order.id.as_str());

    let confirmed = stage.confirm(&secret, "pm_card_visa").await;
    assert_eq!(confirmed["status"], "succeeded", "{confirmed}");
    stage.sandbox.drained().await;
    let paid = stage.order_is(client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(paid.status(), pb::OrderStatus::Paid);
    assert_eq!(stage.book.borrow().started.len(), 1);
    assert_eq!(count(&stage, "payments").await, 1);
    assert_eq!(balances(&stage).await, vec![0]);
    let fault = stage.intent(client, "document").await.unwrap_err();
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Conflict, "ALREADY_PAID"));
}

async fn another_card_may_be_tried_and_a_debit_takes_its_time(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let (order, secret) = opened(&stage, client).await;
    let declined = stage.confirm(&secret, "pm_card_chargeDeclined").await;
    assert_eq!(declined["error"]["code"], "card_declined", "{declined}");
    stage.sandbox.drained().await;
    assert_eq!(stage.order(client, &order.id).await.status(), pb::OrderStatus::Open);
    assert_eq!(opened(&stage, client).await, (order.clone(), secret.clone()));

    let debit = stage.confirm(&secret, "pm_usBankAccount_success").await;
    assert_eq!(debit["status"], "processing", "{debit}");
    stage.sandbox.drained().await;
    assert_eq!(stage.order(client, &order.id).await.status(), pb::OrderStatus::Processing);
    for fault in [
        stage.intent(client, "document").await.unwrap_err(),
        stage.checkout(client, "document").await.unwrap_err(),
    ] {
        assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Conflict, "PAYMENT_PROCESSING"));
    }
    assert!(stage.book.borrow().started.is_empty());
    stage.clock.advance(Duration::from_secs(3 * 24 * 3600));
    stage.sandbox.decide_payment(intent_of(&secret), Decision::Succeed).await.unwrap();
    stage.sandbox.drained().await;
    stage.order_is(client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(stage.book.borrow().started.len(), 1);

    // And one that fails after all.
    let answer = stage.intent(client, "another document").await.unwrap();
    let (order, secret) = (answer.order.unwrap(), answer.client_secret);
    stage.confirm(&secret, "pm_usBankAccount_success").await;
    stage.sandbox.drained().await;
    stage.sandbox.decide_payment(intent_of(&secret), Decision::Fail).await.unwrap();
    stage.sandbox.drained().await;
    assert_eq!(stage.order(client, &order.id).await.status(), pb::OrderStatus::Expired);
    stage.peers_were(|book| book.released == ["another document"]).await;
    assert_eq!(stage.book.borrow().started.len(), 1);
}

/// The provider knows how it stands, whatever came in which order.
async fn a_debit_whose_failure_is_told_before_its_beginning_does_not_hold_the_order(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let (order, secret) = opened(&stage, client).await;
    for (id, kind) in [("evt_1", "payment_intent.payment_failed"), ("evt_2", "payment_intent.processing")] {
        stage.deliver(client, &intent_event(id, kind, &order, intent_of(&secret))).await.unwrap();
    }
    assert_eq!(stage.order(client, &order.id).await.status(), pb::OrderStatus::Processing);
    // Whoever reads it now and then asks the provider.
    stage
        .until("it has ended", async || {
            stage.clock.advance(Duration::from_secs(16));
            stage.order(client, &order.id).await.status() == pb::OrderStatus::Expired
        })
        .await;
    stage.peers_were(|book| book.released == ["document"]).await;
}

async fn a_checkout_closes_the_intent_before_it(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let (by_intent, secret) = opened(&stage, client).await;
    let by_checkout = stage.checkout(client, "document").await.unwrap();
    assert_ne!(by_checkout.id, by_intent.id);
    assert_eq!(by_checkout.method(), pb::PaymentMethod::Checkout);
    let closed = stage.provider(&format!("/v1/payment_intents/{}", intent_of(&secret))).await;
    assert_eq!(closed["status"], "canceled");
    let refused = stage.confirm(&secret, "pm_card_visa").await;
    assert_eq!(refused["error"]["code"], "payment_intent_unexpected_state");
    stage.sandbox.drained().await;
    assert_eq!(stage.order(client, &by_intent.id).await.status(), pb::OrderStatus::Expired);
    stage.pay(&by_checkout).await;
    stage.sandbox.drained().await;
    stage.order_is(client, &by_checkout.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(stage.book.borrow().started.len(), 1);
}

async fn an_intent_closes_the_checkout_before_it(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let by_checkout = stage.checkout(client, "document").await.unwrap();
    let (by_intent, secret) = opened(&stage, client).await;
    assert_ne!(by_checkout.id, by_intent.id);
    let sessions = stage.provider("/v1/checkout/sessions").await;
    assert_eq!(sessions["data"][0]["status"], "expired");
    stage.sandbox.drained().await;
    assert_eq!(stage.order(client, &by_checkout.id).await.status(), pb::OrderStatus::Expired);
    assert_eq!(opened(&stage, client).await, (by_intent.clone(), secret.clone()));
    stage.confirm(&secret, "pm_card_visa").await;
    stage.sandbox.drained().await;
    stage.order_is(client, &by_intent.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(stage.book.borrow().started.len(), 1);
    assert_eq!(count(&stage, "orders").await, 2);
}

async fn what_was_paid_meanwhile_is_not_sold_again(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    stage.sandbox.set_behaviour(Behaviour { hold: true, ..Behaviour::default() });
    let (by_intent, secret) = opened(&stage, client).await;
    stage.confirm(&secret, "pm_card_visa").await;
    let fault = stage.checkout(client, "document").await.unwrap_err();
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Conflict, "ALREADY_PAID"));
    // It has learnt that from the provider, although no webhook came.
    stage.order_is(client, &by_intent.id, |order| !order.job_id.is_empty()).await;

    let by_checkout = stage.checkout(client, "another document").await.unwrap();
    stage.pay(&by_checkout).await;
    let fault = stage.intent(client, "another document").await.unwrap_err();
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Conflict, "ALREADY_PAID"));
    stage.order_is(client, &by_checkout.id, |order| !order.job_id.is_empty()).await;
    stage.sandbox.set_behaviour(Behaviour::default());
    stage.sandbox.drained().await;
    assert_eq!(stage.book.borrow().started.len(), 2);
    assert_eq!(count(&stage, "orders").await, 2);
    assert_eq!(balances(&stage).await, vec![0; 2]);
}

/// At the provider an intent has no end: it is closed there.
async fn an_intent_that_nobody_paid_ends_with_its_time(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let (order, secret) = opened(&stage, &server.client).await;
    stage.clock.advance(Duration::from_secs(25 * 3600));
    let expired = |order: &pb::Order| order.status() == pb::OrderStatus::Expired;
    stage.order_is(&server.client, &order.id, expired).await;
    let closed = stage.provider(&format!("/v1/payment_intents/{}", intent_of(&secret))).await;
    assert_eq!(closed["status"], "canceled");
    stage.peers_were(|book| book.released == ["document"]).await;
}

async fn both_ways_at_once_leave_one_of_them_open(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = [stage.start().await, stage.start().await];
    for _ in 0..3 {
        let calls = (0..8).map(async |place| {
            let client = &servers[place % 2].client;
            let outcome = if place % 4 < 2 {
                stage.checkout(client, "document").await.map(drop)
            } else {
                stage.intent(client, "document").await.map(drop)
            };
            if let Err(fault) = outcome {
                assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Unavailable, "CHECKOUT_CLOSING"));
            }
        });
        futures::future::join_all(calls).await;
        stage.sandbox.drained().await;
    }
    assert!(count(&stage, "orders WHERE status = 'open'").await <= 1);
    let open = async |path: &str, statuses: &[&str]| {
        let made = stage.provider(path).await;
        let is_open = |thing: &&Value| statuses.contains(&thing["status"].as_str().unwrap());
        made["data"].as_array().unwrap().iter().filter(is_open).count()
    };
    let sessions = open("/v1/checkout/sessions?limit=100", &["open"]).await;
    let intents = open("/v1/payment_intents?limit=100", &["requires_payment_method"]).await;
    assert!(sessions + intents <= 1, "{sessions} sessions and {intents} intents can be paid");
}
