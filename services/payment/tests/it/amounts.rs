//! Only the exact price pays: other amounts and currencies are set aside, absurd ones break nothing.

use quire_proto::payment::v1 as pb;
use quire_testkit::Backend;
use serde_json::{Value, json};
use tonic::Code;

use crate::events::{changed, charge_event, dispute_event, intent_event, refund_event, session_event};
use crate::ledger::{balance, balances, count};
use crate::stage::Stage;

quire_testkit::on_both_databases!(
    yen_have_no_cents,
    dinars_have_a_thousand_fils,
    the_quote_counts_and_not_the_price_list,
    a_payment_of_another_amount_goes_back_when_its_order_has_ended,
    amounts_that_nobody_can_pay_break_nothing,
    ids_and_currencies_that_no_database_stores_are_set_aside,
);

async fn yen_have_no_cents(backend: Backend) {
    let settings = [("QUIRE_CURRENCY", "JPY"), ("QUIRE_PRICE_PER_PAGE_MINOR", "80")];
    // As if the yen had cents, in both directions.
    only_the_exact_amount_pays(backend, &settings, 960, &[959, 961, 0, 96_000, 9, 10]).await;
}

async fn dinars_have_a_thousand_fils(backend: Backend) {
    let settings = [("QUIRE_CURRENCY", "KWD"), ("QUIRE_PRICE_PER_PAGE_MINOR", "150")];
    only_the_exact_amount_pays(backend, &settings, 1800, &[1799, 1801, 1790, 0, 180, 18_000]).await;
}

async fn only_the_exact_amount_pays(backend: Backend, settings: &[(&str, &str)], total: i64, others: &[i64]) {
    let stage = Stage::with_settings(backend, settings).await;
    let server = stage.start().await;
    for (place, amount) in others.iter().enumerate() {
        let order = stage.checkout(&server.client, &format!("document {place}")).await.unwrap();
        assert_eq!(order.total.as_ref().unwrap().amount_minor, total);
        let changes = json!({ "amount_total": amount, "payment_intent": format!("pi_{place}") });
        let event = session_event(&format!("evt_{place}"), "checkout.session.completed", &order, changes);
        let answer = stage.deliver(&server.client, &event).await.unwrap();
        assert_eq!(
            (answer.verdict(), answer.reason.as_str()),
            (pb::WebhookVerdict::Quarantined, "AMOUNT_MISMATCH"),
            "{amount}"
        );
        assert_eq!(stage.order(&server.client, &order.id).await.status(), pb::OrderStatus::Quarantined);
    }
    assert_eq!(count(&stage, "outbox").await, 0);
    assert_eq!(balance(&stage, "sales").await, 0);
    // The provider's own page charges the right amount, with all of its events.
    let order = stage.checkout(&server.client, "document").await.unwrap();
    stage.pay(&order).await;
    stage.sandbox.drained().await;
    let paid = stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(paid.status(), pb::OrderStatus::Paid);
    assert_eq!(balance(&stage, "sales").await, -total);
    assert!(balances(&stage).await.iter().all(|sum| *sum == 0));
    assert_eq!(stage.book.borrow().started.len(), 1);
}

async fn the_quote_counts_and_not_the_price_list(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    server.crash();
    stage.forget_servers();
    let dearer = stage.start_with(&[("QUIRE_PRICE_PER_PAGE_MINOR", "99")]).await;
    stage.pay(&order).await;
    stage.sandbox.drained().await;
    let paid = stage.order_is(&dearer.client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(paid.status(), pb::OrderStatus::Paid);
    assert_eq!(paid.total.as_ref().unwrap().amount_minor, 600);
    assert_eq!(paid.price_per_page.as_ref().unwrap().amount_minor, 50);
    assert_eq!(paid.language, "de");
    let next = stage.checkout(&dearer.client, "another document").await.unwrap();
    assert_eq!(next.total.as_ref().unwrap().amount_minor, 12 * 99);
    assert_ne!(next.price_version, paid.price_version);
    // The new price does not pay the old quote, nor the old price the new one.
    let old = session_event("evt_1", "checkout.session.completed", &next, json!({ "amount_total": 600 }));
    let answer = stage.deliver(&dearer.client, &old).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Quarantined);
    assert_eq!(stage.book.borrow().started.len(), 1);
}

async fn a_payment_of_another_amount_goes_back_when_its_order_has_ended(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let expired = session_event("evt_1", "checkout.session.expired", &order, json!({}));
    stage.deliver(&server.client, &expired).await.unwrap();
    // Nothing was paid: there is nothing to send back.
    let nothing = changed(
        &session_event("evt_2", "checkout.session.completed", &order, json!({})),
        json!({ "amount_total": 0 }),
    );
    let answer = stage.deliver(&server.client, &nothing).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Quarantined);
    assert_eq!(stage.order(&server.client, &order.id).await.status(), pb::OrderStatus::Expired);
    let other = json!({ "amount_total": 450, "payment_intent": "pi_2" });
    let other = session_event("evt_3", "checkout.session.completed", &order, other);
    let answer = stage.deliver(&server.client, &other).await.unwrap();
    assert_eq!((answer.verdict(), answer.reason.as_str()), (pb::WebhookVerdict::Accepted, "LATE_PAYMENT"));
    assert_eq!(balance(&stage, "refunds_due").await, -450);
    assert_eq!(count(&stage, "refunds WHERE amount_minor = 450 AND status = 'pending'").await, 1);
    assert!(stage.book.borrow().started.is_empty());
}

/// Amounts that are no amounts of money.
fn absurd() -> Vec<Value> {
    let mut absurd: Vec<Value> =
        [i64::MAX, i64::MIN, i64::MAX - 1, -1, -600, 1_000_000_000_000_001].map(Value::from).into();
    absurd.extend([json!(u64::MAX), json!(600.5), json!(1e300), json!("600"), json!([600]), json!({})]);
    absurd
}

async fn amounts_that_nobody_can_pay_break_nothing(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let paid = stage.checkout(&server.client, "paid").await.unwrap();
    let event = intent_event("evt_paid", "payment_intent.succeeded", &paid, "pi_paid");
    stage.deliver(&server.client, &event).await.unwrap();
    let open = stage.checkout(&server.client, "open").await.unwrap();
    let ended = stage.checkout(&server.client, "ended").await.unwrap();
    let event = session_event("evt_ended", "checkout.session.expired", &ended, json!({}));
    stage.deliver(&server.client, &event).await.unwrap();
    let mut number = 0;
    for amount in absurd() {
        for order in [&open, &ended, &paid] {
            let total = json!({ "amount_total": amount, "payment_intent": "pi_new" });
            for event in [
                session_event("", "checkout.session.completed", order, total),
                changed(
                    &intent_event("", "payment_intent.succeeded", order, "pi_new"),
                    json!({ "amount_received": amount }),
                ),
                changed(
                    &charge_event("", "charge.succeeded", order, "pi_new", 0),
                    json!({ "amount": amount }),
                ),
                changed(
                    &charge_event("", "charge.refunded", order, "pi_paid", 0),
                    json!({ "amount_refunded": amount }),
                ),
                changed(
                    &refund_event("", "refund.created", "pi_paid", &format!("re_{number}"), (1, "succeeded")),
                    json!({ "amount": amount }),
                ),
                changed(
                    &dispute_event("", "created", "pi_paid", &format!("dp_{number}"), (1, "lost")),
                    json!({ "amount": amount }),
                ),
            ] {
                number += 1;
                let mut event = event;
                event["id"] = json!(format!("evt_{number}"));
                match stage.deliver(&server.client, &event).await {
                    Ok(answer) => {
                        assert_eq!(answer.verdict(), pb::WebhookVerdict::Quarantined, "{event}");
                    }
                    Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "{event}"),
                }
            }
        }
    }
    for (order, status) in
        [(&open, pb::OrderStatus::Open), (&ended, pb::OrderStatus::Expired), (&paid, pb::OrderStatus::Paid)]
    {
        let order = stage.order(&server.client, &order.id).await;
        assert_eq!(order.status(), status, "{}", order.document_id);
        assert_eq!(order.refunded.unwrap().amount_minor, 0);
    }
    assert_eq!(balances(&stage).await, vec![0]);
    assert_eq!(count(&stage, "payments").await, 1);
    assert_eq!(count(&stage, "refunds").await, 0);
    assert_eq!(count(&stage, "disputes").await, 0);
}

async fn ids_and_currencies_that_no_database_stores_are_set_aside(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let endless = "x".repeat(20_000);
    for (place, odd) in ["pi_\0", "\u{7}", &endless].into_iter().enumerate() {
        for (number, event) in [
            session_event("", "checkout.session.completed", &order, json!({ "payment_intent": odd })),
            session_event("", "checkout.session.completed", &order, json!({ "currency": odd })),
            intent_event("", "payment_intent.succeeded", &order, odd),
            charge_event("", "charge.succeeded", &order, odd, 0),
            refund_event("", "refund.created", odd, "re_1", (1, "succeeded")),
            refund_event("", "refund.created", "pi_1", odd, (1, "succeeded")),
            dispute_event("", "created", odd, "dp_1", (1, "needs_response")),
            dispute_event("", "created", "pi_1", odd, (1, "needs_response")),
        ]
        .iter_mut()
        .enumerate()
        {
            event["id"] = json!(format!("evt_{place}_{number}"));
            let answer = stage.deliver(&server.client, event).await.unwrap();
            assert_eq!(answer.verdict(), pb::WebhookVerdict::Quarantined, "{number}");
        }
        // As the event's own name it is no event at all.
        let event = session_event(odd, "checkout.session.completed", &order, json!({}));
        let status = stage.deliver(&server.client, &event).await.unwrap_err();
        assert_eq!(quire_fault::Fault::from(&status).reason, "WEBHOOK_MALFORMED");
    }
    for table in ["payments", "refunds", "disputes", "ledger_entries", "outbox", "audit"] {
        assert_eq!(count(&stage, table).await, 0, "{table}");
    }
    let order = stage.order(&server.client, &order.id).await;
    assert_eq!(order.status(), pb::OrderStatus::Open);
}
