//! A provider that repeats everything, at full size, while the job service takes calls and answers none.

use fastrand::Rng;
use futures::{StreamExt, stream};
use quire_proto::payment::v1 as pb;
use quire_testkit::{Backend, Valve};
use serde_json::json;

use crate::concurrency::three_replicas;
use crate::events::session_event;
use crate::ledger::{balances, count};
use crate::stage::Stage;

quire_testkit::on_both_databases!(ten_thousand_deliveries_of_two_hundred_events_start_each_job_once);

const EVENTS: usize = 200;
const COPIES: usize = 50;
/// Deliveries under way at the same time.
const AT_ONCE: usize = 256;

async fn ten_thousand_deliveries_of_two_hundred_events_start_each_job_once(backend: Backend) {
    let mut stage = Stage::new(backend).await;
    let valve = Valve::start(stage.job_url.strip_prefix("http://").unwrap()).await;
    stage.job_url = format!("http://{}", valve.address());
    let servers = three_replicas(&stage, &[]).await;
    let client = &servers[0].client;
    let mut bodies = Vec::new();
    for number in 0..EVENTS {
        let order = stage.checkout(client, &format!("document-{number}")).await.unwrap();
        // Test processes share one Redis, so the event's name is this test's own.
        let event = format!("evt_{}", stage.world.id());
        let payment = json!({ "payment_intent": format!("pi_{number}") });
        let body = session_event(&event, "checkout.session.completed", &order, payment).to_string();
        bodies.extend((0..COPIES).map(|_| body.clone()));
    }
    Rng::with_seed(28).shuffle(&mut bodies);

    valve.hold_answers();
    let (stage, servers) = (&stage, &servers);
    let deliveries = stream::iter(bodies.into_iter().enumerate()).map(|(number, body)| async move {
        stage.deliver_raw(&servers[number % 3].client, body.into_bytes()).await.unwrap().verdict()
    });
    let verdicts: Vec<pb::WebhookVerdict> = deliveries.buffer_unordered(AT_ONCE).collect().await;
    let told = |verdict| verdicts.iter().filter(|told| **told == verdict).count();
    assert_eq!(told(pb::WebhookVerdict::Accepted), EVENTS);
    assert_eq!(told(pb::WebhookVerdict::Duplicate), EVENTS * (COPIES - 1));
    for (table, rows) in [("inbox_events", 1), ("payments", 1), ("outbox", 1), ("ledger_entries", 2)] {
        assert_eq!(count(stage, table).await, i64::try_from(EVENTS * rows).unwrap(), "{table}");
    }

    valve.let_answers_through();
    let all = i64::try_from(EVENTS).unwrap();
    stage.peers_were(|book| book.jobs.len() == EVENTS).await;
    stage
        .until("every order has its job", async || {
            count(stage, "orders WHERE job_id IS NOT NULL").await == all
        })
        .await;
    assert_eq!(stage.book.borrow().jobs.len(), EVENTS);
    assert!(balances(stage).await.iter().all(|balance| *balance == 0));
}
