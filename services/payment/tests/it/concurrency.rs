//! The same things at the same moment, in several processes: the keys of the database decide, not luck.

use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use quire_proto::payment::v1 as pb;
use quire_sandbox::Behaviour;
use quire_testkit::Backend;
use serde_json::{Value, json};

use crate::events::{charge_event, dispute_event, intent_event, refund_event, session_event};
use crate::ledger::{balance, balances, count};
use crate::stage::{Server, Stage};

quire_testkit::on_both_databases!(
    a_hundred_deliveries_of_one_event_start_one_job,
    three_events_of_one_payment_at_the_same_moment_start_one_job,
    deliveries_through_sixteen_connections_are_never_too_much_for_the_database,
    the_page_after_paying_and_the_webhook_race_and_agree,
    events_about_the_order_and_about_its_payment_do_not_hinder_each_other,
    one_payment_pays_one_of_two_orders,
);

pub async fn three_replicas(stage: &Stage, settings: &[(&str, &str)]) -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(stage.start_with(settings).await);
    }
    servers
}

async fn a_hundred_deliveries_of_one_event_start_one_job(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = three_replicas(&stage, &[]).await;
    a_hundred_deliveries(&stage, &servers, 100, async || {}).await;
}

/// So many are made at once; `between` comes between two such groups.
pub async fn a_hundred_deliveries(
    stage: &Stage,
    servers: &[Server],
    at_once: usize,
    between: impl AsyncFn(),
) {
    let order = stage.checkout(&servers[0].client, "document").await.unwrap();
    // Test processes share one Redis, so the event's name is this test's own.
    let id = format!("evt_{}", stage.world.id());
    let event = session_event(&id, "checkout.session.completed", &order, json!({}));
    let mut accepted = 0;
    for group in 0..100 / at_once {
        let deliveries =
            (0..at_once).map(|place| stage.deliver(&servers[(group + place) % 3].client, &event));
        for answer in join_all(deliveries).await {
            match answer.unwrap().verdict() {
                pb::WebhookVerdict::Accepted => accepted += 1,
                verdict => assert_eq!(verdict, pb::WebhookVerdict::Duplicate),
            }
        }
        between().await;
    }
    assert_eq!(accepted, 1);
    let order = stage.order_is(&servers[0].client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(order.status(), pb::OrderStatus::Paid);
    let book = stage.book.borrow().clone();
    assert_eq!(book.started.len(), 1);
    assert_eq!((book.started[0].pages, book.started[0].user_id.as_str()), (12, "ada"));
    assert_eq!(count(stage, "inbox_events").await, 1);
    assert_eq!(count(stage, "outbox").await, 1);
    assert_eq!(count(stage, "ledger_entries").await, 2);
    assert_eq!(count(stage, "audit").await, 1);
}

async fn three_events_of_one_payment_at_the_same_moment_start_one_job(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = three_replicas(&stage, &[]).await;
    three_events_at_once(&stage, &servers, 50, async || {}).await;
}

pub async fn three_events_at_once(stage: &Stage, servers: &[Server], rounds: usize, between: impl AsyncFn()) {
    let mut dice = Rng::with_seed(20_261_124);
    let own = stage.world.id();
    for round in 0..rounds {
        let order = stage.checkout(&servers[0].client, &format!("document {round}")).await.unwrap();
        let payment = format!("pi_{own}_{round}");
        let id = |number: u8| format!("evt_{own}_{round}_{number}");
        let session = json!({ "payment_intent": payment });
        let mut events = vec![
            session_event(&id(1), "checkout.session.completed", &order, session),
            intent_event(&id(2), "payment_intent.succeeded", &order, &payment),
            charge_event(&id(3), "charge.succeeded", &order, &payment, 0),
        ];
        dice.shuffle(&mut events);
        deliver_at_once(stage, servers, &events, &mut dice).await;
        between().await;
    }
    stage.peers_were(|book| book.jobs.len() == rounds).await;
    let expected = i64::try_from(rounds).unwrap();
    assert_eq!(count(stage, "inbox_events WHERE status = 'done'").await, 3 * expected);
    assert_eq!(count(stage, "outbox").await, expected);
    assert_eq!(count(stage, "payments").await, expected);
    assert_eq!(count(stage, "ledger_entries").await, 2 * expected);
    assert_eq!(count(stage, "audit").await, expected);
    assert_eq!(balances(stage).await, vec![0; rounds]);
    assert_eq!(balance(stage, "sales").await, -600 * expected);
    // A paid order's job is asked for once, however many processes look for work.
    assert_eq!(stage.book.borrow().started.len(), rounds);
}

/// Every event to a server drawn by lot, all at the same moment. None may be refused or put off.
async fn deliver_at_once(stage: &Stage, servers: &[Server], events: &[Value], dice: &mut Rng) {
    let deliveries = events.iter().map(|event| {
        let server = &servers[dice.usize(..servers.len())];
        stage.deliver(&server.client, event)
    });
    for answer in join_all(deliveries).await {
        let answer = answer.unwrap();
        let expected =
            [pb::WebhookVerdict::Accepted, pb::WebhookVerdict::Duplicate, pb::WebhookVerdict::Parked];
        assert!(expected.contains(&answer.verdict()), "{answer:?}");
    }
}

async fn deliveries_through_sixteen_connections_are_never_too_much_for_the_database(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start_with(&[("QUIRE_DATABASE_CONNECTIONS", "16")]).await;
    let mut events = Vec::new();
    for place in 0..16 {
        let order = stage.checkout(&server.client, &format!("document {place}")).await.unwrap();
        let payment = json!({ "payment_intent": format!("pi_{place}") });
        let id = format!("evt_{place}");
        events.push(session_event(&id, "checkout.session.completed", &order, payment));
    }
    let deliveries = (0..160).map(|place| stage.deliver(&server.client, &events[place % 16]));
    for answer in join_all(deliveries).await {
        answer.unwrap();
    }
    stage.peers_were(|book| book.jobs.len() == 16).await;
    assert_eq!(count(&stage, "inbox_events").await, 16);
    assert_eq!(stage.book.borrow().started.len(), 16);
    assert_eq!(count(&stage, "ledger_entries").await, 32);
}

async fn the_page_after_paying_and_the_webhook_race_and_agree(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = [stage.start().await, stage.start().await];
    let mut asked = 0;
    for round in 0..30 {
        stage.sandbox.set_behaviour(Behaviour { hold: true, ..Behaviour::default() });
        let order = stage.checkout(&servers[0].client, &format!("document {round}")).await.unwrap();
        stage.pay(&order).await;
        // Old enough that whoever reads the order also asks the provider.
        stage.clock.advance(Duration::from_secs(16));
        let told = async { stage.sandbox.set_behaviour(Behaviour::default()) };
        let (read, _, again) = tokio::join!(
            stage.order(&servers[0].client, &order.id),
            told,
            stage.order(&servers[1].client, &order.id),
        );
        // One of the two asks, and then knows, unless the machine is slow.
        asked += usize::from([&read, &again].iter().any(|order| order.status() == pb::OrderStatus::Paid));
        let has_job = |order: &pb::Order| !order.job_id.is_empty();
        let first = stage.order_is(&servers[0].client, &order.id, has_job).await;
        let second = stage.order_is(&servers[1].client, &order.id, has_job).await;
        assert_eq!(first.job_id, second.job_id);
        stage.sandbox.drained().await;
    }
    assert!(asked > 15, "{asked}");
    assert_eq!(stage.book.borrow().started.len(), 30);
    assert_eq!(count(&stage, "outbox").await, 30);
    assert_eq!(count(&stage, "payments").await, 30);
    assert_eq!(count(&stage, "inbox_events").await, 90);
    assert_eq!(balance(&stage, "sales").await, -600 * 30);
}

/// The one locks the order first and then looks for the payment, the other finds the payment first.
async fn events_about_the_order_and_about_its_payment_do_not_hinder_each_other(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = three_replicas(&stage, &[]).await;
    let mut dice = Rng::with_seed(7);
    for round in 0..20 {
        let order = stage.checkout(&servers[0].client, &format!("document {round}")).await.unwrap();
        let payment = format!("pi_{round}");
        let id = |number: u8| format!("evt_{round}_{number}");
        let (first, second) = (format!("re_{round}_1"), format!("re_{round}_2"));
        let dispute = format!("dp_{round}");
        let mut events = vec![
            intent_event(&id(1), "payment_intent.succeeded", &order, &payment),
            charge_event(&id(2), "charge.succeeded", &order, &payment, 0),
            charge_event(&id(3), "charge.refunded", &order, &payment, 100),
            charge_event(&id(4), "charge.refunded", &order, &payment, 300),
            refund_event(&id(5), "refund.created", &payment, &first, (100, "succeeded")),
            refund_event(&id(6), "refund.created", &payment, &second, (200, "succeeded")),
            refund_event(&id(7), "refund.updated", &payment, &second, (200, "succeeded")),
            dispute_event(&id(8), "created", &payment, &dispute, (300, "needs_response")),
            dispute_event(&id(9), "closed", &payment, &dispute, (300, "won")),
        ];
        events.extend_from_within(..);
        dice.shuffle(&mut events);
        deliver_at_once(&stage, &servers, &events, &mut dice).await;
        let order = stage.order(&servers[0].client, &order.id).await;
        assert_eq!(order.refunded.unwrap().amount_minor, 300, "round {round}");
        assert!(!order.disputed, "round {round}");
    }
    assert_eq!(count(&stage, "inbox_events WHERE status = 'done'").await, 20 * 9);
    assert_eq!(balances(&stage).await, vec![0; 20]);
    assert_eq!(balance(&stage, "provider").await, 20 * 300);
    assert_eq!(balance(&stage, "disputed").await, 0);
}

/// The provider never says so; if it did, one of them would be given away.
async fn one_payment_pays_one_of_two_orders(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = three_replicas(&stage, &[]).await;
    for round in 0..15 {
        let payment = format!("pi_{round}");
        let mut events = Vec::new();
        for which in ["a", "b"] {
            let order =
                stage.checkout(&servers[0].client, &format!("document {round} {which}")).await.unwrap();
            let id = format!("evt_{round}_{which}");
            events.push(intent_event(&id, "payment_intent.succeeded", &order, &payment));
        }
        let deliveries =
            events.iter().enumerate().map(|(place, event)| stage.deliver(&servers[place].client, event));
        for answer in join_all(deliveries).await {
            answer.unwrap();
        }
    }
    // Who came second may have been put off; it is set aside then.
    stage.clock.advance(Duration::from_secs(10));
    let aside = "inbox_events WHERE status = 'quarantined' AND reason = 'PAYMENT_OF_ANOTHER_ORDER'";
    stage.until("each second event is set aside", async || count(&stage, aside).await == 15).await;
    assert_eq!(count(&stage, "orders WHERE status = 'paid'").await, 15);
    assert_eq!(count(&stage, "payments").await, 15);
    assert_eq!(count(&stage, "outbox WHERE kind = 'start_job'").await, 15);
}
