//! The webhook: one payment is one job, whatever is delivered how often and in which order.

use std::time::Duration;

use quire_fault::{Fault, Kind};
use quire_payment::config::DEVELOPMENT_WEBHOOK_SECRET;
use quire_proto::payment::v1 as pb;
use quire_sandbox::Behaviour;
use quire_sandbox::signature::sign;
use quire_testkit::Backend;
use serde_json::json;

use crate::concurrency::three_replicas;
use crate::events::session_event;
use crate::ledger::{balance, balances, count};
use crate::stage::Stage;

quire_testkit::on_both_databases!(
    three_kinds_of_events_in_any_order_and_number_start_one_job,
    a_delivery_without_a_good_signature_is_refused_and_changes_nothing,
    an_amount_or_currency_that_contradicts_the_quote_is_set_aside,
    completed_but_unpaid_starts_nothing_until_the_money_comes,
    money_that_never_comes_releases_the_document,
    a_second_payment_of_one_order_goes_back_once,
    a_payment_after_the_order_expired_goes_back,
    events_that_are_not_ours_are_stored_and_ignored,
    an_event_of_an_unknown_order_waits_for_it,
);

async fn three_kinds_of_events_in_any_order_and_number_start_one_job(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = three_replicas(&stage, &[]).await;
    for round in 0..10 {
        stage.sandbox.set_behaviour(Behaviour {
            duplicates: 4,
            wrong_signature_first: round % 2 == 0,
            shuffle: round % 3 != 0,
            seed: round,
            hold: false,
        });
        let order = stage.checkout(&servers[0].client, &format!("document {round}")).await.unwrap();
        stage.pay(&order).await;
        stage.sandbox.drained().await;
        let order = stage.order_is(&servers[1].client, &order.id, |order| !order.job_id.is_empty()).await;
        assert_eq!(order.status(), pb::OrderStatus::Paid);
    }
    let started = stage.book.borrow().started.clone();
    assert_eq!(started.len(), 10);
    assert_eq!(count(&stage, "inbox_events").await, 30);
    assert_eq!(count(&stage, "outbox").await, 10);
    assert_eq!(balances(&stage).await, vec![0; 10]);
    assert_eq!(balance(&stage, "provider").await, 6000);
}

async fn a_delivery_without_a_good_signature_is_refused_and_changes_nothing(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let event = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    let payload = event.to_string().into_bytes();
    let now = stage.world.now().unix_seconds();
    let secret = DEVELOPMENT_WEBHOOK_SECRET;
    for (signature, reason) in [
        (None, "SIGNATURE_MISSING"),
        (Some(String::new()), "SIGNATURE_MISSING"),
        (Some("garbage".to_owned()), "SIGNATURE_MALFORMED"),
        (Some(sign("whsec_of_somebody_else", now, &payload)), "SIGNATURE_MISMATCH"),
        (Some(sign(secret, now, b"another body")), "SIGNATURE_MISMATCH"),
        (Some(sign(secret, now - 301, &payload)), "SIGNATURE_TIMESTAMP"),
        (Some(sign(secret, now + 301, &payload)), "SIGNATURE_TIMESTAMP"),
    ] {
        let request = pb::HandleWebhookRequest { payload: payload.clone(), signature };
        let status = server.client.clone().handle_webhook(request).await.unwrap_err();
        let fault = Fault::from(&status);
        assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Malformed, reason));
    }
    let huge = vec![b' '; 1024 * 1024 + 1];
    let signature = Some(sign(secret, now, &huge));
    let request = pb::HandleWebhookRequest { payload: huge, signature };
    let status = server.client.clone().handle_webhook(request).await.unwrap_err();
    assert_eq!(Fault::from(&status).kind, Kind::TooLarge);
    assert_eq!(count(&stage, "inbox_events").await, 0);
    assert_eq!(stage.order(&server.client, &order.id).await.status(), pb::OrderStatus::Open);
}

async fn an_amount_or_currency_that_contradicts_the_quote_is_set_aside(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    for (place, (changes, reason)) in [
        (json!({ "amount_total": 599 }), "AMOUNT_MISMATCH"),
        (json!({ "amount_total": 601 }), "AMOUNT_MISMATCH"),
        (json!({ "amount_total": 0 }), "AMOUNT_MISMATCH"),
        (json!({ "currency": "jpy" }), "CURRENCY_MISMATCH"),
    ]
    .into_iter()
    .enumerate()
    {
        let document = format!("document {place}");
        let order = stage.checkout(&server.client, &document).await.unwrap();
        let id = format!("evt_{place}");
        let mut event = session_event(&id, "checkout.session.completed", &order, changes);
        event["data"]["object"]["payment_intent"] = json!(format!("pi_{place}"));
        let answer = stage.deliver(&server.client, &event).await.unwrap();
        assert_eq!(answer.verdict(), pb::WebhookVerdict::Quarantined);
        assert_eq!(answer.reason, reason);
        // Not even a right one starts the job now: an operator must look.
        let right = session_event(&format!("{id}_right"), "checkout.session.completed", &order, json!({}));
        let answer = stage.deliver(&server.client, &right).await.unwrap();
        assert_eq!(answer.verdict(), pb::WebhookVerdict::Quarantined);
        let order = stage.order(&server.client, &order.id).await;
        assert_eq!(order.status(), pb::OrderStatus::Quarantined);
        let fault = stage.checkout(&server.client, &document).await.unwrap_err();
        assert_eq!(fault.reason, "PAYMENT_QUARANTINED");
    }
    assert_eq!(count(&stage, "outbox").await, 0);
    assert!(balances(&stage).await.iter().all(|sum| *sum == 0));
    assert_eq!(balance(&stage, "sales").await, 0);
}

async fn completed_but_unpaid_starts_nothing_until_the_money_comes(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let unpaid = json!({ "payment_status": "unpaid" });
    let event = session_event("evt_1", "checkout.session.completed", &order, unpaid);
    assert_eq!(stage.deliver(&server.client, &event).await.unwrap().verdict(), pb::WebhookVerdict::Accepted);
    let processing = stage.order(&server.client, &order.id).await;
    assert_eq!(processing.status(), pb::OrderStatus::Processing);
    assert_eq!(count(&stage, "outbox").await, 0);
    let fault = stage.checkout(&server.client, "document").await.unwrap_err();
    assert_eq!(fault.reason, "PAYMENT_PROCESSING");

    stage.clock.advance(Duration::from_secs(3 * 24 * 3600));
    let event = session_event("evt_2", "checkout.session.async_payment_succeeded", &order, json!({}));
    stage.deliver(&server.client, &event).await.unwrap();
    // What comes late does not move it back.
    let late = json!({ "payment_status": "unpaid" });
    let late = session_event("evt_3", "checkout.session.completed", &order, late);
    stage.deliver(&server.client, &late).await.unwrap();
    let expired = session_event("evt_4", "checkout.session.expired", &order, json!({}));
    stage.deliver(&server.client, &expired).await.unwrap();
    let order = stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(order.status(), pb::OrderStatus::Paid);
    assert_eq!(stage.book.borrow().started.len(), 1);
}

async fn money_that_never_comes_releases_the_document(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let unpaid = json!({ "payment_status": "unpaid" });
    let event = session_event("evt_1", "checkout.session.completed", &order, unpaid.clone());
    stage.deliver(&server.client, &event).await.unwrap();
    let event = session_event("evt_2", "checkout.session.async_payment_failed", &order, unpaid);
    stage.deliver(&server.client, &event).await.unwrap();
    stage.peers_were(|book| book.released == ["document"]).await;
    let order = stage.order(&server.client, &order.id).await;
    assert_eq!(order.status(), pb::OrderStatus::Expired);
    assert!(stage.book.borrow().started.is_empty());
}

async fn a_second_payment_of_one_order_goes_back_once(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    // A second session of the same order, as two tabs of an older version could have made.
    let second = stage
        .provider_post(
            "/v1/checkout/sessions",
            &[
                ("mode", "payment"),
                ("success_url", "https://shop.example"),
                ("metadata[order_id]", &order.id),
                ("payment_intent_data[metadata][order_id]", &order.id),
                ("line_items[0][quantity]", "12"),
                ("line_items[0][price_data][currency]", "eur"),
                ("line_items[0][price_data][unit_amount]", "50"),
                ("line_items[0][price_data][product_data][name]", "the same"),
            ],
        )
        .await;
    stage.sandbox.set_behaviour(Behaviour { duplicates: 3, ..Behaviour::default() });
    stage.pay(&order).await;
    stage.sandbox.drained().await;
    stage.pay_at(second["url"].as_str().unwrap()).await;
    stage.sandbox.drained().await;
    let order = stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(order.status(), pb::OrderStatus::Paid);
    assert_eq!(stage.book.borrow().started.len(), 1);
    refunded_in_total(&stage, 600).await;
    assert_eq!(balances(&stage).await, vec![0]);
    assert_eq!(balance(&stage, "sales").await, -600);
}

async fn a_payment_after_the_order_expired_goes_back(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    stage.sandbox.set_behaviour(Behaviour { hold: true, ..Behaviour::default() });
    stage.pay(&order).await;
    // The provider contradicts itself, or an old event came to light.
    let expired = session_event("evt_x", "checkout.session.expired", &order, json!({}));
    stage.deliver(&server.client, &expired).await.unwrap();
    assert_eq!(stage.order(&server.client, &order.id).await.status(), pb::OrderStatus::Expired);
    stage.sandbox.set_behaviour(Behaviour::default());
    stage.sandbox.drained().await;
    let is_refunded = |order: &pb::Order| order.status() == pb::OrderStatus::Refunded;
    stage.order_is(&server.client, &order.id, is_refunded).await;
    refunded_in_total(&stage, 600).await;
    assert!(stage.book.borrow().started.is_empty());
    assert_eq!(balance(&stage, "provider").await, 0);
    assert_eq!(balance(&stage, "refunds_due").await, 0);
}

/// Waits until the books say that all that is owed went back, and compares with the provider's.
async fn refunded_in_total(stage: &Stage, amount: i64) {
    let waiting = async {
        while balance(stage, "refunds_due").await != 0
            || count(stage, "outbox WHERE done_at IS NULL").await > 0
        {}
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the refund is made in time");
    let charges: i64 = balance(stage, "provider").await;
    let funds = stage.provider("/v1/balance").await;
    let eur = funds["available"].as_array().unwrap().iter().find(|row| row["currency"] == "eur").unwrap();
    assert_eq!(eur["amount"], charges);
    let debited =
        count(stage, "ledger_entries WHERE event_key LIKE 'refund:%' AND account = 'refunds_due'").await;
    assert_eq!(debited, 1, "one refund of {amount}");
}

async fn events_that_are_not_ours_are_stored_and_ignored(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let unknown = session_event("evt_1", "customer.created", &order, json!({}));
    let answer = stage.deliver(&server.client, &unknown).await.unwrap();
    assert_eq!((answer.verdict(), answer.reason.as_str()), (pb::WebhookVerdict::Ignored, "UNKNOWN_TYPE"));
    let foreign = json!({ "metadata": { "order_id": "4711" } });
    let foreign = session_event("evt_2", "checkout.session.completed", &order, foreign);
    let answer = stage.deliver(&server.client, &foreign).await.unwrap();
    assert_eq!((answer.verdict(), answer.reason.as_str()), (pb::WebhookVerdict::Ignored, "NOT_OURS"));
    let again = stage.deliver(&server.client, &foreign).await.unwrap();
    assert_eq!(again.verdict(), pb::WebhookVerdict::Duplicate);
    let status = stage.deliver(&server.client, &json!({ "no": "event" })).await.unwrap_err();
    assert_eq!(Fault::from(&status).reason, "WEBHOOK_MALFORMED");
    assert_eq!(count(&stage, "inbox_events").await, 2);
    assert_eq!(stage.order(&server.client, &order.id).await.status(), pb::OrderStatus::Open);
}

async fn an_event_of_an_unknown_order_waits_for_it(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let mut order = stage.checkout(&server.client, "document").await.unwrap();
    order.id = stage.world.id();
    let event = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    let answer = stage.deliver(&server.client, &event).await.unwrap();
    assert_eq!((answer.verdict(), answer.reason.as_str()), (pb::WebhookVerdict::Parked, "ORDER_UNKNOWN"));
    let again = stage.deliver(&server.client, &event).await.unwrap();
    assert_eq!(again.verdict(), pb::WebhookVerdict::Duplicate);
    assert_eq!(count(&stage, "inbox_events WHERE status = 'parked'").await, 1);
}
