//! What goes back, told by whom and in whatever order: the books equal the provider's.

use quire_proto::payment::v1 as pb;
use quire_sandbox::{Bank, Behaviour, Decision, RefundMode};
use quire_testkit::Backend;
use serde_json::json;

use crate::events::{changed, charge_event, intent_event, refund_event, session_event};
use crate::ledger::{balance, balances, count, tamper, texts};
use crate::sabotage::Panics;
use crate::settle::{paid_order, settle, settle_pages};
use crate::stage::{Client, Server, Stage};

quire_testkit::on_both_databases!(
    a_refund_made_by_hand_at_the_provider_is_entered_once,
    three_parts_in_any_order_and_each_twice_are_the_whole,
    a_refund_of_ours_whose_event_comes_before_its_answer_is_one_refund,
    a_refund_under_way_is_counted_once_and_succeeds_later,
    a_refund_that_the_bank_sends_back_may_be_approved_again,
    a_job_that_fails_while_a_part_is_under_way_gets_the_rest_back,
    a_second_payment_of_one_order_goes_back_once_with_its_trace,
    a_refund_whose_answer_was_lost_and_whose_total_is_known_is_one_refund,
    a_part_whose_answer_was_lost_and_whose_total_is_known_is_not_sent_again,
    a_refund_that_was_given_up_and_made_all_the_same_is_entered,
);

/// The sum of a payment that went back by the provider's own count.
async fn provider_total(stage: &Stage, order: &pb::Order) -> i64 {
    let charges = stage.provider("/v1/charges?limit=100").await;
    let own = |charge: &&serde_json::Value| charge["metadata"]["order_id"] == order.id.as_str();
    charges["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(own)
        .map(|c| c["amount_refunded"].as_i64().unwrap())
        .sum()
}

async fn payment_of(stage: &Stage) -> String {
    texts(stage, "SELECT id AS n FROM payments").await.remove(0)
}

fn refunded(amount: i64) -> impl Fn(&pb::Order) -> bool {
    move |order| order.refunded.as_ref().unwrap().amount_minor == amount
}

async fn a_refund_made_by_hand_at_the_provider_is_entered_once(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    stage.sandbox.set_behaviour(Behaviour { duplicates: 3, shuffle: true, seed: 4, ..Behaviour::default() });
    let payment = payment_of(&stage).await;
    stage.provider_post("/v1/refunds", &[("payment_intent", &payment), ("amount", "200")]).await;
    stage.sandbox.drained().await;
    let order = stage.order(client, &order.id).await;
    assert_eq!((order.status(), order.refunded.as_ref().unwrap().amount_minor), (pb::OrderStatus::Paid, 200));
    let entered = stage.refunds(client).await;
    assert_eq!(entered.len(), 1);
    assert_eq!(
        (entered[0].status(), entered[0].reason.as_str()),
        (pb::RefundStatus::Succeeded, "AT_PROVIDER")
    );
    // The rest by hand too: then the money of the order is gone, and its job stops.
    stage.provider_post("/v1/refunds", &[("payment_intent", &payment)]).await;
    stage.sandbox.drained().await;
    let order = stage.order(client, &order.id).await;
    assert_eq!(order.status(), pb::OrderStatus::Refunded);
    stage.peers_were(|book| book.cancelled == [order.id.clone()]).await;
    assert_eq!(balances(&stage).await, vec![0]);
    assert_eq!((balance(&stage, "provider").await, balance(&stage, "sales").await), (0, 0));
    assert_eq!(provider_total(&stage, &order).await, 600);
}

async fn three_parts_in_any_order_and_each_twice_are_the_whole(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let orders_of_three = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (round, order_of_three) in orders_of_three.into_iter().enumerate() {
        let order = stage.checkout(&server.client, &format!("document {round}")).await.unwrap();
        let payment = format!("pi_{round}");
        let paid = intent_event(&format!("evt_{round}"), "payment_intent.succeeded", &order, &payment);
        stage.deliver(&server.client, &paid).await.unwrap();
        for place in order_of_three {
            // The provider's running total, as it was when this part was made.
            let (amount, total) = [(100, 100), (200, 300), (250, 550)][place];
            let name = |kind: &str| format!("evt_{round}_{place}_{kind}");
            let refund = format!("re_{round}_{place}");
            let part = (amount, "succeeded");
            for event in [
                charge_event(&name("total"), "charge.refunded", &order, &payment, total),
                refund_event(&name("created"), "refund.created", &payment, &refund, part),
                refund_event(&name("updated"), "charge.refund.updated", &payment, &refund, part),
            ] {
                for _ in 0..2 {
                    stage.deliver(&server.client, &event).await.unwrap();
                }
            }
        }
        let order = stage.order(&server.client, &order.id).await;
        assert_eq!(order.refunded.as_ref().unwrap().amount_minor, 550, "{order_of_three:?}");
        assert_eq!(order.status(), pb::OrderStatus::Paid);
        let left = stage.request_refund(&server.client, &order.id, None).await.unwrap();
        assert_eq!(left.amount.unwrap().amount_minor, 50);
    }
    assert_eq!(balances(&stage).await, vec![0; 6]);
    assert_eq!(balance(&stage, "provider").await, 6 * 50);
    assert_eq!(count(&stage, "refunds WHERE status = 'succeeded'").await, 18);
}

async fn a_refund_of_ours_whose_event_comes_before_its_answer_is_one_refund(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = paid_order(&stage, &server.client).await;
    let payment = payment_of(&stage).await;
    server.crash();
    stage.forget_servers();
    // Decided, and nobody has told the provider yet.
    let nowhere = [("QUIRE_STRIPE_URL", "http://127.0.0.1:1")];
    let server = stage.start_unreached(stage.world.clone(), &nowhere).await;
    settle_pages(&stage, &server.client, &order.id, (pb::JobOutcome::Cancelled, 4)).await.unwrap();
    let wish = stage.refunds(&server.client).await.remove(0);
    assert_eq!((wish.status(), wish.amount.as_ref().unwrap().amount_minor), (pb::RefundStatus::Pending, 400));
    // The provider's events are first: it was told, and the answer is on its way.
    let own = json!({ "metadata": { "refund_id": wish.id, "order_id": order.id } });
    let created = refund_event("evt_1", "refund.created", &payment, "re_1", (400, "pending"));
    let updated = refund_event("evt_2", "refund.updated", &payment, "re_1", (400, "succeeded"));
    for event in [
        changed(&updated, own.clone()),
        changed(&created, own),
        charge_event("evt_3", "charge.refunded", &order, &payment, 400),
    ] {
        stage.deliver(&server.client, &event).await.unwrap();
    }
    let known = stage.refunds(&server.client).await;
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].id.as_str(), known[0].status()), (wish.id.as_str(), pb::RefundStatus::Succeeded));
    assert_eq!(balance(&stage, "provider").await, 200);
    assert_eq!(balance(&stage, "refunds_due").await, 0);
    server.crash();
    // What is known to be done is not asked for once more.
    tamper(&stage, "UPDATE outbox SET lease_until = 0, next_at = 0 WHERE done_at IS NULL").await;
    let server = stage.start().await;
    stage.until("the task is done", async || count(&stage, "outbox WHERE done_at IS NULL").await == 0).await;
    assert_eq!(provider_total(&stage, &order).await, 0, "the provider was asked");
    assert_eq!(stage.order(&server.client, &order.id).await.refunded.unwrap().amount_minor, 400);
    assert_eq!(balances(&stage).await, vec![0]);
}

/// Approves and waits until the provider has heard of it.
async fn approved(stage: &Stage, client: &Client, order: &pb::Order, amount: i64) -> pb::Refund {
    let wish = stage.request_refund(client, &order.id, Some(amount)).await.unwrap();
    stage.decide(client, &wish.id, true).await.unwrap();
    let sent = format!("outbox WHERE kind = 'refund' AND done_at IS NULL AND payload LIKE '%{}%'", wish.id);
    stage.until("the provider was asked", async || count(stage, &sent).await == 0).await;
    stage.sandbox.drained().await;
    wish
}

/// The provider's name of a refund of ours.
async fn provider_id(stage: &Stage, refund: &pb::Refund) -> String {
    let sql = format!("SELECT provider_refund_id AS n FROM refunds WHERE id = '{}'", refund.id);
    texts(stage, &sql).await.remove(0)
}

async fn a_refund_under_way_is_counted_once_and_succeeds_later(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    stage.sandbox.set_bank(Bank { refunds: RefundMode::Pending, ..Bank::default() });
    let first = approved(&stage, client, &order, 200).await;
    assert_eq!(stage.refunds(client).await[0].status(), pb::RefundStatus::Pending);
    // It is neither forgotten nor counted twice: 400 are left.
    let fault = stage.request_refund(client, &order.id, Some(401)).await.unwrap_err();
    assert!(fault.message.contains("only 400"), "{}", fault.message);
    let second = approved(&stage, client, &order, 200).await;
    assert_eq!(stage.order(client, &order.id).await.status(), pb::OrderStatus::Paid);
    assert!(stage.book.borrow().cancelled.is_empty());
    let third = approved(&stage, client, &order, 200).await;
    // All of it is on its way, and not yet there.
    assert_eq!(stage.order(client, &order.id).await.status(), pb::OrderStatus::RefundPending);
    let fault = stage.request_refund(client, &order.id, None).await.unwrap_err();
    assert_eq!(fault.reason, "ORDER_NOT_REFUNDABLE");
    // Comparing while they are under way finds nothing to mend.
    stage.clock.advance(std::time::Duration::from_secs(120));
    assert_eq!(stage.reconcile(client, false).await, vec![]);
    for refund in [&third, &first, &second] {
        let id = provider_id(&stage, refund).await;
        stage.sandbox.decide_refund(&id, Decision::Succeed).await.unwrap();
    }
    stage.sandbox.drained().await;
    let order = stage.order(client, &order.id).await;
    assert_eq!((order.status(), order.refunded.unwrap().amount_minor), (pb::OrderStatus::Refunded, 600));
    assert_eq!(balances(&stage).await, vec![0]);
    assert_eq!(balance(&stage, "refunds_due").await, 0);
    assert_eq!(stage.reconcile(client, false).await, vec![]);
}

async fn a_refund_that_the_bank_sends_back_may_be_approved_again(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    let failed = approved(&stage, client, &order, 600).await;
    assert_eq!(stage.order(client, &order.id).await.status(), pb::OrderStatus::Refunded);
    // Days later the customer's bank cannot book it.
    let id = provider_id(&stage, &failed).await;
    stage.sandbox.decide_refund(&id, Decision::Fail).await.unwrap();
    stage.sandbox.drained().await;
    assert_eq!(stage.refunds(client).await[0].status(), pb::RefundStatus::Failed);
    assert_eq!(stage.order(client, &order.id).await.refunded.unwrap().amount_minor, 0);
    assert_eq!(balance(&stage, "provider").await, 600);
    // It is owed as before.
    assert_eq!(balance(&stage, "refunds_due").await, -600);
    let decisions = (0..4).map(|_| stage.decide(client, &failed.id, true));
    for decision in futures::future::join_all(decisions).await {
        decision.unwrap();
    }
    stage.order_is(client, &order.id, refunded(600)).await;
    stage.sandbox.drained().await;
    let all = stage.refunds(client).await;
    assert_eq!(all.len(), 2);
    for refund in all {
        let expected =
            if refund.id == failed.id { pb::RefundStatus::Failed } else { pb::RefundStatus::Succeeded };
        assert_eq!(refund.status(), expected);
    }
    assert_eq!(provider_total(&stage, &order).await, 600);
    assert_eq!(balances(&stage).await, vec![0]);
    assert_eq!((balance(&stage, "provider").await, balance(&stage, "refunds_due").await), (0, 0));
}

async fn a_job_that_fails_while_a_part_is_under_way_gets_the_rest_back(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    stage.sandbox.set_bank(Bank { refunds: RefundMode::Pending, ..Bank::default() });
    let part = approved(&stage, client, &order, 150).await;
    settle(&stage, client, &order.id, pb::JobOutcome::Failed).await.unwrap();
    stage.until("the rest is under way", async || provider_total(&stage, &order).await == 600).await;
    let all = stage.refunds(client).await;
    assert_eq!(all.len(), 2);
    stage
        .until("both are known", async || {
            count(&stage, "refunds WHERE provider_refund_id IS NOT NULL").await == 2
        })
        .await;
    for refund in &all {
        let id = provider_id(&stage, refund).await;
        let decision = if refund.id == part.id { Decision::Fail } else { Decision::Succeed };
        stage.sandbox.decide_refund(&id, decision).await.unwrap();
    }
    stage.sandbox.drained().await;
    let order = stage.order(client, &order.id).await;
    assert_eq!((order.status(), order.refunded.unwrap().amount_minor), (pb::OrderStatus::RefundPending, 450));
    stage.sandbox.set_bank(Bank::default());
    stage.decide(client, &part.id, true).await.unwrap();
    let order = stage.order_is(client, &order.id, refunded(600)).await;
    assert_eq!(order.status(), pb::OrderStatus::Refunded);
    assert_eq!((balance(&stage, "provider").await, balance(&stage, "refunds_due").await), (0, 0));
}

async fn a_second_payment_of_one_order_goes_back_once_with_its_trace(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = [stage.start().await, stage.start().await];
    let client = &servers[0].client;
    let order = paid_order(&stage, client).await;
    let extra = stage
        .provider_post(
            "/v1/payment_intents",
            &[("amount", "600"), ("currency", "eur"), ("metadata[order_id]", &order.id)],
        )
        .await;
    let extra = extra["id"].as_str().unwrap().to_owned();
    stage.sandbox.set_behaviour(Behaviour { duplicates: 3, shuffle: true, seed: 9, ..Behaviour::default() });
    let path = format!("/v1/payment_intents/{extra}/confirm");
    stage.provider_post(&path, &[("payment_method", "pm_card_visa")]).await;
    stage.until("all of it is back", async || provider_total(&stage, &order).await == 600).await;
    stage.until("the task is done", async || count(&stage, "outbox WHERE done_at IS NULL").await == 0).await;
    stage.sandbox.drained().await;
    // The order itself is not touched.
    let order = stage.order(client, &order.id).await;
    assert_eq!((order.status(), order.refunded.as_ref().unwrap().amount_minor), (pb::OrderStatus::Paid, 0));
    assert_eq!(stage.book.borrow().started.len(), 1);
    let made = stage.refunds(client).await;
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].reason.as_str(), made[0].status()), ("EXTRA_PAYMENT", pb::RefundStatus::Succeeded));
    let trace = texts(&stage, "SELECT detail AS n FROM audit ORDER BY seq").await;
    assert_eq!(trace, ["", "EXTRA_PAYMENT", "REFUND_SENT"]);
    assert_eq!(count(&stage, "payments").await, 2);
    assert_eq!(balances(&stage).await, vec![0]);
    assert_eq!((balance(&stage, "sales").await, balance(&stage, "provider").await), (-600, 600));
    let late =
        session_event("evt_late", "checkout.session.completed", &order, json!({ "payment_intent": extra }));
    stage.deliver(client, &late).await.unwrap();
    assert_eq!(stage.refunds(client).await.len(), 1);
}

/// The process breaks when the provider has made the refund of a job that ended like this, and nobody hears of it. Answers
/// the order.
async fn with_a_lost_answer(stage: &Stage, ended: (pb::JobOutcome, i32)) -> pb::Order {
    let server = stage.start().await;
    let order = paid_order(stage, &server.client).await;
    server.crash();
    stage.forget_servers();
    stage.sandbox.set_behaviour(Behaviour { hold: true, ..Behaviour::default() });
    let breaking = Panics::within(&stage.world, "payment.relay.sent", 1);
    let server = stage.start_unreached(breaking, &[]).await;
    // The process may be gone before it has answered.
    let _ = settle_pages(stage, &server.client, &order.id, ended).await;
    stage.until("the provider was asked", async || provider_total(stage, &order).await > 0).await;
    server.crash();
    order
}

/// The running total is known, and the task that made it is taken up again.
async fn with_the_total_told(stage: &Stage, order: &pb::Order, total: i64) -> Server {
    let server = stage.start().await;
    let told = stage.provider("/v1/events?type=charge.refunded").await;
    stage.deliver(&server.client, &told["data"][0]).await.unwrap();
    assert_eq!(stage.order(&server.client, &order.id).await.refunded.unwrap().amount_minor, total);
    tamper(stage, "UPDATE outbox SET lease_until = 0, next_at = 0 WHERE done_at IS NULL").await;
    stage.until("the task is done", async || count(stage, "outbox WHERE done_at IS NULL").await == 0).await;
    server
}

/// What is left is less than the refund was: asking for that would be another refund.
async fn a_part_whose_answer_was_lost_and_whose_total_is_known_is_not_sent_again(backend: Backend) {
    let stage = Stage::new(backend).await;
    let order = with_a_lost_answer(&stage, (pb::JobOutcome::Cancelled, 4)).await;
    let server = with_the_total_told(&stage, &order, 400).await;
    assert_eq!(provider_total(&stage, &order).await, 400);
    stage.sandbox.set_behaviour(Behaviour::default());
    stage.sandbox.drained().await;
    let made = stage.refunds(&server.client).await;
    assert_eq!((made.len(), made[0].status()), (1, pb::RefundStatus::Succeeded));
    assert_eq!(stage.order(&server.client, &order.id).await.refunded.unwrap().amount_minor, 400);
    assert_eq!((balance(&stage, "provider").await, balance(&stage, "refunds_due").await), (200, 0));
}

async fn a_refund_whose_answer_was_lost_and_whose_total_is_known_is_one_refund(backend: Backend) {
    let stage = Stage::new(backend).await;
    let order = with_a_lost_answer(&stage, (pb::JobOutcome::Failed, 0)).await;
    // Nothing is left for the task to send. What it should have sent is there already.
    let server = with_the_total_told(&stage, &order, 600).await;
    is_refunded_once(&stage, &server.client, &order).await;
    stage.sandbox.set_behaviour(Behaviour::default());
    stage.sandbox.drained().await;
    is_refunded_once(&stage, &server.client, &order).await;
}

async fn is_refunded_once(stage: &Stage, client: &Client, order: &pb::Order) {
    let order = stage.order(client, &order.id).await;
    assert_eq!((order.status(), order.refunded.unwrap().amount_minor), (pb::OrderStatus::Refunded, 600));
    let made = stage.refunds(client).await;
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!((made[0].status(), made[0].reason.as_str()), (pb::RefundStatus::Succeeded, "JOB_FAILED"));
    assert_eq!(balances(stage).await, vec![0]);
    for account in ["provider", "sales", "refunds_due"] {
        assert_eq!(balance(stage, account).await, 0, "{account}");
    }
}

async fn a_refund_that_was_given_up_and_made_all_the_same_is_entered(backend: Backend) {
    let stage = Stage::new(backend).await;
    let order = with_a_lost_answer(&stage, (pb::JobOutcome::Failed, 0)).await;
    tamper(&stage, "UPDATE refunds SET status = 'failed', note = 'NOTHING_LEFT'").await;
    tamper(&stage, "UPDATE outbox SET done_at = 1 WHERE done_at IS NULL").await;
    let server = stage.start().await;
    stage.sandbox.set_behaviour(Behaviour { shuffle: true, seed: 2, ..Behaviour::default() });
    stage.sandbox.drained().await;
    is_refunded_once(&stage, &server.client, &order).await;
}
