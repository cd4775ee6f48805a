//! Payments that the customer's bank takes back: nothing is paid back twice, and what is decided stays so.

use fastrand::Rng;
use quire_fault::Kind;
use quire_proto::payment::v1 as pb;
use quire_sandbox::{NewDispute, Verdict};
use quire_testkit::Backend;
use serde_json::Value;

use crate::events::{dispute_event, intent_event};
use crate::ledger::{balance, balances, count, tamper, texts};
use crate::settle::{paid_order, settle};
use crate::stage::{Client, Stage};

quire_testkit::on_both_databases!(
    while_a_dispute_is_open_nothing_is_refunded_and_after_it_is_won_everything_may,
    what_a_failed_job_owes_waits_for_the_dispute_and_goes_out_when_it_is_won,
    what_a_failed_job_owes_is_not_paid_twice_when_the_dispute_is_lost,
    a_part_that_is_lost_leaves_the_rest_to_be_refunded,
    a_dispute_that_only_the_provider_knows_of_stops_the_refund_too,
    a_dispute_that_the_provider_does_not_mind_stops_the_refund_too,
    the_words_about_a_dispute_may_come_in_any_order,
    a_dispute_is_closed_with_the_amount_it_was_opened_with,
);

/// The customer's bank takes back a payment, or a part of it.
async fn dispute(stage: &Stage, amount: Option<i64>) -> String {
    let payment = texts(stage, "SELECT id AS n FROM payments").await.remove(0);
    let opened = stage.sandbox.open_dispute(&NewDispute { payment, amount, reason: None }).await.unwrap();
    stage.sandbox.drained().await;
    opened["id"].as_str().unwrap().to_owned()
}

async fn decided(stage: &Stage, dispute: &str, verdict: Verdict) {
    stage.sandbox.close_dispute(dispute, verdict).await.unwrap();
    stage.sandbox.drained().await;
}

/// How many refunds the provider has made.
async fn sent(stage: &Stage) -> usize {
    stage.provider("/v1/refunds").await["data"].as_array().unwrap().len()
}

/// Waits until a refund task was tried and put off.
async fn was_tried(stage: &Stage) {
    let tried = "outbox WHERE kind = 'refund' AND done_at IS NULL AND last_error <> ''";
    stage.until("the refund was tried", async || count(stage, tried).await == 1).await;
}

async fn while_a_dispute_is_open_nothing_is_refunded_and_after_it_is_won_everything_may(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    let wish = stage.request_refund(client, &order.id, Some(100)).await.unwrap();
    let dispute = dispute(&stage, None).await;
    let disputed = stage.order(client, &order.id).await;
    assert_eq!((disputed.disputed, disputed.status()), (true, pb::OrderStatus::Paid));
    for fault in [
        stage.request_refund(client, &order.id, Some(1)).await.unwrap_err(),
        stage.decide(client, &wish.id, true).await.unwrap_err(),
    ] {
        assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Conflict, "PAYMENT_DISPUTED"));
    }
    assert_eq!((balance(&stage, "provider").await, balance(&stage, "disputed").await), (0, 600));
    decided(&stage, &dispute, Verdict::Won).await;
    let restored = stage.order(client, &order.id).await;
    assert_eq!((restored.disputed, restored.status()), (false, pb::OrderStatus::Paid));
    assert_eq!((balance(&stage, "provider").await, balance(&stage, "disputed").await), (600, 0));
    stage.decide(client, &wish.id, true).await.unwrap();
    let refunded = |order: &pb::Order| order.refunded.as_ref().unwrap().amount_minor == 100;
    stage.order_is(client, &order.id, refunded).await;
    let trace = texts(&stage, "SELECT detail AS n FROM audit ORDER BY seq").await;
    assert_eq!(trace[1..4], ["REFUND_REQUESTED", "DISPUTE_OPENED", "DISPUTE_WON"]);
    assert_eq!(balances(&stage).await, vec![0]);
}

async fn what_a_failed_job_owes_waits_for_the_dispute_and_goes_out_when_it_is_won(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    let dispute = dispute(&stage, None).await;
    let status = settle(&stage, client, &order.id, pb::JobOutcome::Failed).await.unwrap();
    assert_eq!(status, pb::OrderStatus::RefundPending);
    was_tried(&stage).await;
    assert_eq!(sent(&stage).await, 0);
    decided(&stage, &dispute, Verdict::Won).await;
    let refunded = |order: &pb::Order| order.status() == pb::OrderStatus::Refunded;
    stage.order_is(client, &order.id, refunded).await;
    assert_eq!(sent(&stage).await, 1);
    assert_eq!(balances(&stage).await, vec![0]);
    for account in ["provider", "refunds_due", "disputed", "sales"] {
        assert_eq!(balance(&stage, account).await, 0, "{account}");
    }
}

async fn what_a_failed_job_owes_is_not_paid_twice_when_the_dispute_is_lost(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    let dispute = dispute(&stage, None).await;
    settle(&stage, client, &order.id, pb::JobOutcome::Failed).await.unwrap();
    was_tried(&stage).await;
    decided(&stage, &dispute, Verdict::Lost).await;
    stage.until("the task ends", async || count(&stage, "outbox WHERE done_at IS NULL").await == 0).await;
    assert_eq!(sent(&stage).await, 0);
    // The customer has the money by another way: the order is at its end.
    let order = stage.order(client, &order.id).await;
    assert_eq!((order.status(), order.disputed), (pb::OrderStatus::Refunded, false));
    let refund = stage.refunds(client).await.remove(0);
    assert_eq!((refund.status(), refund.note.as_str()), (pb::RefundStatus::Failed, "NOTHING_LEFT"));
    let fault = stage.decide(client, &refund.id, true).await.unwrap_err();
    assert_eq!(fault.reason, "REFUND_TOO_LARGE");
    assert_eq!(balances(&stage).await, vec![0]);
    for account in ["provider", "refunds_due", "disputed", "sales"] {
        assert_eq!(balance(&stage, account).await, 0, "{account}");
    }
}

async fn a_part_that_is_lost_leaves_the_rest_to_be_refunded(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    let dispute = dispute(&stage, Some(200)).await;
    settle(&stage, client, &order.id, pb::JobOutcome::Failed).await.unwrap();
    was_tried(&stage).await;
    decided(&stage, &dispute, Verdict::Lost).await;
    let refunded = |order: &pb::Order| order.refunded.as_ref().unwrap().amount_minor == 400;
    stage.order_is(client, &order.id, refunded).await;
    let done = |order: &pb::Order| order.status() == pb::OrderStatus::Refunded;
    stage.order_is(client, &order.id, done).await;
    assert_eq!(sent(&stage).await, 1);
    assert_eq!(balances(&stage).await, vec![0]);
    for account in ["provider", "refunds_due", "disputed", "sales"] {
        assert_eq!(balance(&stage, account).await, 0, "{account}");
    }
}

async fn a_dispute_that_only_the_provider_knows_of_stops_the_refund_too(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    stage.sandbox.set_behaviour(quire_sandbox::Behaviour { hold: true, ..Default::default() });
    let payment = texts(&stage, "SELECT id AS n FROM payments").await.remove(0);
    let opened = NewDispute { payment, amount: None, reason: None };
    let dispute = stage.sandbox.open_dispute(&opened).await.unwrap()["id"].as_str().unwrap().to_owned();
    settle(&stage, client, &order.id, pb::JobOutcome::Failed).await.unwrap();
    // However often the provider refuses: it is too early, and not too late.
    stage
        .until("it is tried a dozen times", async || {
            tamper(&stage, "UPDATE outbox SET next_at = 0 WHERE kind = 'refund'").await;
            count(&stage, "outbox WHERE kind = 'refund' AND lease_epoch > 12").await == 1
        })
        .await;
    assert_eq!(count(&stage, "outbox WHERE dead_at IS NOT NULL").await, 0);
    stage.sandbox.set_behaviour(quire_sandbox::Behaviour::default());
    stage.sandbox.drained().await;
    assert!(stage.order(client, &order.id).await.disputed);
    decided(&stage, &dispute, Verdict::Won).await;
    let refunded = |order: &pb::Order| order.status() == pb::OrderStatus::Refunded;
    stage.order_is(client, &order.id, refunded).await;
    assert_eq!(sent(&stage).await, 1);
}

async fn a_dispute_that_the_provider_does_not_mind_stops_the_refund_too(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    let payment = texts(&stage, "SELECT id AS n FROM payments").await.remove(0);
    // Only told, so that the provider would refund all the same.
    let told = |id: &str, kind: &str, status| dispute_event(id, kind, &payment, "dp_1", (600, status));
    stage.deliver(client, &told("evt_1", "created", "needs_response")).await.unwrap();
    settle(&stage, client, &order.id, pb::JobOutcome::Failed).await.unwrap();
    was_tried(&stage).await;
    assert_eq!(sent(&stage).await, 0);
    stage.deliver(client, &told("evt_2", "closed", "won")).await.unwrap();
    let refunded = |order: &pb::Order| order.status() == pb::OrderStatus::Refunded;
    stage.order_is(client, &order.id, refunded).await;
    assert_eq!(sent(&stage).await, 1);
}

async fn the_words_about_a_dispute_may_come_in_any_order(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let mut dice = Rng::with_seed(31);
    let (mut won, mut lost) = (0, 0);
    for round in 0..16 {
        let client = &server.client;
        let order = stage.checkout(client, &format!("document {round}")).await.unwrap();
        let (payment, dispute) = (format!("pi_{round}"), format!("dp_{round}"));
        let is_won = round % 2 == 0;
        let verdict = if is_won { "won" } else { "lost" };
        let word = |kind: &str, status| {
            dispute_event(&format!("evt_{round}_{kind}"), kind, &payment, &dispute, (600, status))
        };
        let paid = intent_event(&format!("evt_{round}"), "payment_intent.succeeded", &order, &payment);
        let mut told: Vec<Value> = vec![
            word("created", "needs_response"),
            word("funds_withdrawn", "needs_response"),
            word("updated", "under_review"),
            word("closed", verdict),
        ];
        if is_won {
            told.push(word("funds_reinstated", "won"));
        }
        if round > 7 {
            // The payment itself is among what comes late.
            told.push(paid.clone());
        } else {
            stage.deliver(client, &paid).await.unwrap();
        }
        told.extend_from_within(..);
        dice.shuffle(&mut told);
        for event in &told {
            stage.deliver(client, event).await.unwrap();
        }
        *(if is_won { &mut won } else { &mut lost }) += 1;
        assert!(!stage.order(client, &order.id).await.disputed, "round {round}");
    }
    assert_eq!(balances(&stage).await, vec![0; 16]);
    assert_eq!(balance(&stage, "provider").await, 600 * won);
    assert_eq!(balance(&stage, "sales").await, -600 * won);
    assert_eq!(balance(&stage, "disputed").await, 0);
    assert_eq!(count(&stage, "disputes WHERE status = 'won'").await, won);
    assert_eq!(count(&stage, "disputes WHERE status = 'lost'").await, lost);
}

/// What was withheld is what comes back or is lost, whatever the last word says.
async fn a_dispute_is_closed_with_the_amount_it_was_opened_with(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client: &Client = &server.client;
    for (round, verdict) in ["won", "lost"].into_iter().enumerate() {
        let order = stage.checkout(client, &format!("document {round}")).await.unwrap();
        let (payment, dispute) = (format!("pi_{round}"), format!("dp_{round}"));
        let paid = intent_event(&format!("evt_{round}"), "payment_intent.succeeded", &order, &payment);
        let opened =
            dispute_event(&format!("evt_{round}_1"), "created", &payment, &dispute, (600, "needs_response"));
        let closed = dispute_event(&format!("evt_{round}_2"), "closed", &payment, &dispute, (500, verdict));
        for event in [paid, opened, closed] {
            stage.deliver(client, &event).await.unwrap();
        }
    }
    assert_eq!(balance(&stage, "disputed").await, 0);
    assert_eq!(balance(&stage, "provider").await, 600);
    assert_eq!(balances(&stage).await, vec![0; 2]);
}
