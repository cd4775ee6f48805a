//! The database, a replica's clock or the way back of an answer fails: nothing is half done, and what is sent again is
//! done once.

use std::time::Duration;

use quire_clock::{ManualClock, World};
use quire_fault::{Fault, Kind};
use quire_payment::config::DEVELOPMENT_WEBHOOK_SECRET;
use quire_proto::payment::v1 as pb;
use quire_sandbox::Behaviour;
use quire_sandbox::signature::sign;
use quire_testkit::{Backend, Valve};
use serde_json::json;

use crate::events::session_event;
use crate::ledger::{balances, count};
use crate::sabotage::{Outage, accept_commits, accept_inserts, refuse_commits, refuse_inserts};
use crate::stage::{Client, Stage};

quire_testkit::on_both_databases!(
    while_the_database_is_away_nothing_is_taken_in_and_later_everything,
    an_insert_that_is_refused_leaves_nothing_behind,
    a_commit_that_fails_leaves_nothing_behind,
    a_wish_that_cannot_be_written_puts_the_event_off_and_does_not_lose_it,
    a_replica_whose_clock_is_wrong_refuses_and_the_event_is_found_later,
    an_answer_of_the_job_service_that_is_lost_is_asked_for_again,
);

async fn is_paid_once(stage: &Stage, client: &Client, order: &pb::Order) {
    let order = stage.order_is(client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(order.status(), pb::OrderStatus::Paid);
    let started = stage.book.borrow().started.clone();
    assert!(started.iter().all(|call| call.order_id == order.id));
    assert_eq!(count(stage, "outbox").await, 1);
    assert_eq!(balances(stage).await, vec![0]);
    assert_eq!(count(stage, "ledger_entries").await, 2);
    assert_eq!(count(stage, "audit").await, 1);
}

async fn while_the_database_is_away_nothing_is_taken_in_and_later_everything(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let event = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    let outage = Outage::begin(&stage).await;
    let status = stage.deliver(&server.client, &event).await.unwrap_err();
    let fault = Fault::from(&status);
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Unavailable, "DATABASE_UNAVAILABLE"));
    assert_eq!(fault.kind.http().as_u16(), 503);
    assert!(fault.retry_after.is_some());
    outage.end().await;
    assert_eq!(count(&stage, "inbox_events").await, 0);
    let answer = stage.deliver(&server.client, &event).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Accepted);
    is_paid_once(&stage, &server.client, &order).await;
}

async fn an_insert_that_is_refused_leaves_nothing_behind(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let event = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    refuse_inserts(&stage, "inbox_events", "NEW.event_id = 'evt_1'").await;
    fails_and_stores_nothing(&stage, &server.client, &event).await;
    accept_inserts(&stage, "inbox_events").await;
    let answer = stage.deliver(&server.client, &event).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Accepted);
    is_paid_once(&stage, &server.client, &order).await;
}

async fn a_commit_that_fails_leaves_nothing_behind(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let event = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    refuse_commits(&stage, "inbox_events").await;
    fails_and_stores_nothing(&stage, &server.client, &event).await;
    accept_commits(&stage, "inbox_events").await;
    let answer = stage.deliver(&server.client, &event).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Accepted);
    is_paid_once(&stage, &server.client, &order).await;
}

async fn fails_and_stores_nothing(stage: &Stage, client: &Client, event: &serde_json::Value) {
    for _ in 0..3 {
        let status = stage.deliver(client, event).await.unwrap_err();
        let http = Fault::from(&status).kind.http();
        assert!(http.is_server_error(), "{http}");
    }
    for table in ["inbox_events", "outbox", "payments", "ledger_entries", "audit"] {
        assert_eq!(count(stage, table).await, 0, "{table}");
    }
    assert!(stage.book.borrow().started.is_empty());
}

/// The event itself can be stored: then the provider need not send it again.
async fn a_wish_that_cannot_be_written_puts_the_event_off_and_does_not_lose_it(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let event = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    refuse_commits(&stage, "outbox").await;
    let answer = stage.deliver(&server.client, &event).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Deferred);
    assert_eq!(count(&stage, "inbox_events WHERE status = 'received' AND attempts = 1").await, 1);
    for table in ["outbox", "payments", "ledger_entries", "audit"] {
        assert_eq!(count(&stage, table).await, 0, "{table}");
    }
    assert_eq!(stage.order(&server.client, &order.id).await.status(), pb::OrderStatus::Open);
    accept_commits(&stage, "outbox").await;
    stage.clock.advance(Duration::from_secs(10));
    is_paid_once(&stage, &server.client, &order).await;
    let again = stage.deliver(&server.client, &event).await.unwrap();
    assert_eq!(again.verdict(), pb::WebhookVerdict::Duplicate);
}

async fn a_replica_whose_clock_is_wrong_refuses_and_the_event_is_found_later(backend: Backend) {
    let stage = Stage::new(backend).await;
    let right = stage.start().await;
    let order = stage.checkout(&right.client, "document").await.unwrap();
    stage.sandbox.set_behaviour(Behaviour { hold: true, ..Behaviour::default() });
    stage.pay(&order).await;
    let late = World::with_clock(ManualClock::at(stage.world.now().minus(Duration::from_secs(600))));
    let wrong = stage.start_unreached(late, &[]).await;
    let event = &stage.provider("/v1/events?type=checkout.session.completed").await["data"][0];
    let status = stage.deliver(&wrong.client, event).await.unwrap_err();
    let fault = Fault::from(&status);
    assert_eq!((fault.kind.http().as_u16(), fault.reason.as_str()), (400, "SIGNATURE_TIMESTAMP"));
    assert!(wrong.measures(r#"webhooks_refused_total{reason="SIGNATURE_TIMESTAMP"} 1"#));
    assert_eq!(count(&stage, "inbox_events").await, 0);

    let found = stage.reconcile(&right.client, false).await;
    assert!(found.iter().any(|finding| finding.kind() == pb::FindingKind::EventMissed), "{found:?}");
    stage.sandbox.set_behaviour(Behaviour::default());
    stage.sandbox.drained().await;
    is_paid_once(&stage, &right.client, &order).await;
    // The one that is right tells how far apart they are.
    let payload = event.to_string().into_bytes();
    let signature = sign(DEVELOPMENT_WEBHOOK_SECRET, stage.world.now().unix_seconds() + 200, &payload);
    let request = pb::HandleWebhookRequest { payload, signature: Some(signature) };
    right.client.clone().handle_webhook(request).await.unwrap();
    assert!(right.measures(r#"webhook_skew_seconds_sum{direction="ahead"} 200.0"#));
}

async fn an_answer_of_the_job_service_that_is_lost_is_asked_for_again(backend: Backend) {
    let mut stage = Stage::new(backend).await;
    let valve = Valve::start(stage.job_url.strip_prefix("http://").unwrap()).await;
    stage.job_url = format!("http://{}", valve.address());
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    valve.hold_answers();
    let event = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    stage.deliver(&server.client, &event).await.unwrap();
    stage.peers_were(|book| book.started.len() == 1).await;
    valve.cut();
    valve.let_answers_through();
    stage.peers_were(|book| book.started.len() == 2).await;
    is_paid_once(&stage, &server.client, &order).await;
}
