//! Events in every order: an order never goes backwards, and a job needs money that stays.

use std::collections::BTreeSet;
use std::time::Duration;

use quire_proto::payment::v1 as pb;
use quire_testkit::Backend;
use serde_json::{Value, json};

use crate::events::{changed, charge_event, event, intent_event, refund_event, session_event};
use crate::ledger::{balance, balances, count, texts};
use crate::sabotage::{accept_inserts, refuse_inserts};
use crate::stage::{Server, Stage};

quire_testkit::on_both_databases!(
    every_order_of_paid_expired_failed_and_refunded_ends_the_same_way,
    what_contradicts_a_payment_that_arrived_changes_nothing,
    who_could_not_pay_may_pay_again,
    a_payment_that_began_on_the_page_and_never_ended_does_not_hold_the_order,
    what_is_said_of_a_payment_before_it_is_known_waits_for_it,
    what_waited_and_cannot_be_applied_does_not_hold_up_the_payment,
    events_of_the_other_world_and_of_others_are_ignored,
);

/// All orders of four things.
fn permutations(things: &[Value]) -> Vec<Vec<Value>> {
    if things.len() < 2 {
        return vec![things.to_vec()];
    }
    let mut all = Vec::new();
    for place in 0..things.len() {
        let mut rest = things.to_vec();
        let first = rest.remove(place);
        all.extend(permutations(&rest).into_iter().map(|mut later| {
            later.insert(0, first.clone());
            later
        }));
    }
    all
}

async fn every_order_of_paid_expired_failed_and_refunded_ends_the_same_way(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let mut orders = Vec::new();
    let mut paid_first = BTreeSet::new();
    for round in 0..24 {
        let order = stage.checkout(&server.client, &format!("document {round}")).await.unwrap();
        let payment = format!("pi_{round}");
        let id = |name: &str| format!("evt_{round}_{name}");
        let session = json!({ "payment_intent": payment });
        let told = [
            session_event(&id("paid"), "checkout.session.completed", &order, session),
            session_event(&id("expired"), "checkout.session.expired", &order, json!({})),
            session_event(&id("failed"), "checkout.session.async_payment_failed", &order, json!({})),
            charge_event(&id("refunded"), "charge.refunded", &order, &payment, 600),
        ];
        let in_order = &permutations(&told)[round];
        if in_order[0] == told[0] {
            paid_first.insert(order.id.clone());
        }
        for event in in_order {
            let answer = stage.deliver(&server.client, event).await.unwrap();
            assert_eq!(answer.verdict(), pb::WebhookVerdict::Accepted, "{round}");
        }
        orders.push(order);
    }
    for order in &orders {
        let order = stage.order(&server.client, &order.id).await;
        assert_eq!(order.status(), pb::OrderStatus::Refunded);
        assert_eq!(order.refunded.unwrap().amount_minor, 600);
    }
    // A job that was started before the money went back is stopped again; no other was started.
    let book = stage
        .peers_were(|book| book.started.iter().all(|call| book.cancelled.contains(&call.order_id)))
        .await;
    assert!(book.started.iter().all(|call| paid_first.contains(&call.order_id)), "{:?}", book.started);
    assert_eq!(balances(&stage).await, vec![0; 24]);
    for account in ["provider", "sales", "refunds_due", "suspense"] {
        assert_eq!(balance(&stage, account).await, 0, "{account}");
    }
    never_backwards(&stage).await;
}

/// Every step in the audit leads to the same or a later status.
async fn never_backwards(stage: &Stage) {
    let rank = |status: &str| match status {
        "open" => 0,
        "processing" => 1,
        "expired" => 2,
        "paid" | "quarantined" => 3,
        "delivered" => 4,
        "refund_pending" => 5,
        "refunded" => 6,
        other => panic!("{other}"),
    };
    let steps = texts(stage, "SELECT from_status || ' ' || to_status AS n FROM audit").await;
    assert!(!steps.is_empty());
    for step in steps {
        let (from, to) = step.split_once(' ').unwrap();
        assert!(rank(from) <= rank(to), "{step}");
    }
}

async fn what_contradicts_a_payment_that_arrived_changes_nothing(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let paid = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    stage.deliver(&server.client, &paid).await.unwrap();
    let unpaid = json!({ "payment_status": "unpaid" });
    for (place, late) in [
        session_event("", "checkout.session.expired", &order, json!({})),
        session_event("", "checkout.session.async_payment_failed", &order, json!({})),
        session_event("", "checkout.session.completed", &order, unpaid),
        intent_event("", "payment_intent.payment_failed", &order, "pi_1"),
        intent_event("", "payment_intent.processing", &order, "pi_1"),
        intent_event("", "payment_intent.canceled", &order, "pi_1"),
    ]
    .iter_mut()
    .enumerate()
    {
        late["id"] = json!(format!("evt_late_{place}"));
        let answer = stage.deliver(&server.client, late).await.unwrap();
        assert_eq!(answer.verdict(), pb::WebhookVerdict::Accepted);
    }
    let order = stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(order.status(), pb::OrderStatus::Paid);
    assert_eq!(count(&stage, "audit").await, 1);
    assert_eq!(stage.book.borrow().started.len(), 1);
    assert!(stage.book.borrow().released.is_empty());
}

async fn who_could_not_pay_may_pay_again(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let first = stage.checkout(&server.client, "document").await.unwrap();
    let unpaid = json!({ "payment_status": "unpaid" });
    let event = session_event("evt_1", "checkout.session.completed", &first, unpaid.clone());
    stage.deliver(&server.client, &event).await.unwrap();
    let event = session_event("evt_2", "checkout.session.async_payment_failed", &first, unpaid);
    stage.deliver(&server.client, &event).await.unwrap();
    let second = checkout_once_released(&stage, &server, "document").await;
    assert_ne!(second.id, first.id);
    stage.pay(&second).await;
    stage.order_is(&server.client, &second.id, |order| !order.job_id.is_empty()).await;
    let started = stage.book.borrow().started.clone();
    assert_eq!(started.iter().map(|call| call.order_id.as_str()).collect::<Vec<_>>(), [second.id]);
}

/// A checkout of a document whose last order has ended, as soon as its release is through.
async fn checkout_once_released(stage: &Stage, server: &Server, document: &str) -> pb::Order {
    loop {
        match stage.checkout(&server.client, document).await {
            Ok(order) => return order,
            Err(fault) => assert_eq!(fault.reason, "CHECKOUT_CLOSING"),
        }
    }
}

/// Only the session's own events say how a checkout ends.
async fn a_payment_that_began_on_the_page_and_never_ended_does_not_hold_the_order(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    for (id, kind) in [("evt_1", "payment_intent.processing"), ("evt_2", "payment_intent.payment_failed")] {
        stage.deliver(&server.client, &intent_event(id, kind, &order, "pi_1")).await.unwrap();
    }
    // Another card may be tried on the same page.
    assert_eq!(stage.checkout(&server.client, "document").await.unwrap().id, order.id);
    let event = session_event("evt_3", "checkout.session.expired", &order, json!({}));
    stage.deliver(&server.client, &event).await.unwrap();
    assert_eq!(stage.order(&server.client, &order.id).await.status(), pb::OrderStatus::Expired);
    checkout_once_released(&stage, &server, "document").await;
}

async fn what_is_said_of_a_payment_before_it_is_known_waits_for_it(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let early = refund_event("evt_1", "refund.created", "pi_1", "re_1", (600, "succeeded"));
    let answer = stage.deliver(&server.client, &early).await.unwrap();
    assert_eq!((answer.verdict(), answer.reason.as_str()), (pb::WebhookVerdict::Parked, "PAYMENT_UNKNOWN"));
    let paid = session_event("evt_2", "checkout.session.completed", &order, json!({}));
    let answer = stage.deliver(&server.client, &paid).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Accepted);
    let order = stage.order(&server.client, &order.id).await;
    assert_eq!(order.status(), pb::OrderStatus::Refunded);
    assert_eq!(count(&stage, "inbox_events WHERE status = 'done'").await, 2);
    // Nobody will write it: it may be changed and sold again.
    let book = stage.peers_were(|book| book.released == ["document"]).await;
    assert!(book.started.is_empty() && book.cancelled.is_empty());
    let again = stage.deliver(&server.client, &early).await.unwrap();
    assert_eq!(again.verdict(), pb::WebhookVerdict::Duplicate);
}

async fn what_waited_and_cannot_be_applied_does_not_hold_up_the_payment(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let early = refund_event("evt_1", "refund.created", "pi_1", "re_1", (100, "succeeded"));
    let answer = stage.deliver(&server.client, &early).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Parked);
    refuse_inserts(&stage, "refunds", "NEW.provider_refund_id = 're_1'").await;
    let paid = session_event("evt_2", "checkout.session.completed", &order, json!({}));
    let answer = stage.deliver(&server.client, &paid).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Accepted);
    stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(count(&stage, "inbox_events WHERE status = 'received' AND attempts = 1").await, 1);
    assert_eq!(count(&stage, "refunds").await, 0);

    accept_inserts(&stage, "refunds").await;
    stage.clock.advance(Duration::from_secs(10));
    let refunded = |order: &pb::Order| order.refunded.as_ref().unwrap().amount_minor == 100;
    stage.order_is(&server.client, &order.id, refunded).await;
    assert_eq!(balances(&stage).await, vec![0]);
}

async fn events_of_the_other_world_and_of_others_are_ignored(backend: Backend) {
    let stage = Stage::new(backend).await;
    // The sandbox's key is one for tests.
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let paid = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    let mut live = paid.clone();
    (live["id"], live["livemode"]) = (json!("evt_live"), json!(true));
    let real = stage.start_unreached(stage.world.clone(), &[("QUIRE_STRIPE_API_KEY", "sk_live_1234")]).await;
    let mut test = paid.clone();
    (test["id"], test["livemode"]) = (json!("evt_test"), json!(false));
    for (client, event) in [(&server.client, &live), (&real.client, &test)] {
        let answer = stage.deliver(client, event).await.unwrap();
        assert_eq!(
            (answer.verdict(), answer.reason.as_str()),
            (pb::WebhookVerdict::Ignored, "LIVEMODE_MISMATCH")
        );
    }
    let own = json!({ "order_id": order.id });
    for (place, metadata) in [json!(null), json!({}), json!([]), json!({ "order_id": 7 })].iter().enumerate()
    {
        let mut foreign = changed(&paid, json!({ "metadata": metadata }));
        foreign["id"] = json!(format!("evt_foreign_{place}"));
        let answer = stage.deliver(&server.client, &foreign).await.unwrap();
        assert_eq!((answer.verdict(), answer.reason.as_str()), (pb::WebhookVerdict::Ignored, "NOT_OURS"));
    }
    // Of another kind, although it names the order.
    let other = event("evt_other", "invoice.paid", json!({ "metadata": own }));
    let answer = stage.deliver(&server.client, &other).await.unwrap();
    assert_eq!((answer.verdict(), answer.reason.as_str()), (pb::WebhookVerdict::Ignored, "UNKNOWN_TYPE"));
    assert_eq!(stage.order(&server.client, &order.id).await.status(), pb::OrderStatus::Open);
    assert_eq!(count(&stage, "inbox_events WHERE status = 'ignored'").await, 7);
    assert_eq!(count(&stage, "audit").await, 0);

    let mut right = paid;
    (right["id"], right["livemode"]) = (json!("evt_right"), json!(false));
    let answer = stage.deliver(&server.client, &right).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Accepted);
    stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
}
