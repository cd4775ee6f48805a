//! The outbox and its relay: what was promised is done, through outages and crashes.

use quire_proto::payment::v1 as pb;
use quire_testkit::Backend;
use sea_orm::ConnectionTrait;
use serde_json::json;

use crate::events::session_event;
use crate::ledger::{count, tamper};
use crate::stage::Stage;

quire_testkit::on_both_databases!(
    a_job_service_that_was_down_is_told_when_it_is_up,
    a_crash_between_the_commit_and_the_relay_loses_nothing,
    a_task_whose_holder_died_is_done_by_another,
);

async fn a_job_service_that_was_down_is_told_when_it_is_up(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    stage.change_peers(|book| book.jobs_down = true);
    let order = stage.checkout(&server.client, "document").await.unwrap();
    stage.pay(&order).await;
    stage.sandbox.drained().await;
    // The webhook was acknowledged all the same.
    assert_eq!(stage.order(&server.client, &order.id).await.status(), pb::OrderStatus::Paid);
    stage.peers_were(|book| book.started.len() >= 3).await;
    stage.change_peers(|book| book.jobs_down = false);
    let order = stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(order.job_id, format!("job-of-{}", order.id));
    assert_eq!(count(&stage, "outbox WHERE done_at IS NULL").await, 0);
}

async fn a_crash_between_the_commit_and_the_relay_loses_nothing(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    stage.change_peers(|book| book.jobs_down = true);
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let event = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    stage.deliver(&server.client, &event).await.unwrap();
    server.crash();
    stage.change_peers(|book| book.jobs_down = false);
    // Whoever claimed the task is gone; its lease runs out by the database's own clock.
    tamper(&stage, "UPDATE outbox SET lease_until = 0, next_at = 0").await;

    let server = stage.start().await;
    let again = stage.deliver(&server.client, &event).await.unwrap();
    assert_eq!(again.verdict(), pb::WebhookVerdict::Duplicate);
    stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
    // The call may be repeated, its order never changes: the job service answers one job for it.
    let started = stage.book.borrow().started.clone();
    assert!(started.iter().all(|call| call.order_id == order.id));
    assert_eq!(count(&stage, "outbox").await, 1);
}

async fn a_task_whose_holder_died_is_done_by_another(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    stage.change_peers(|book| book.jobs_down = true);
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let event = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    stage.deliver(&server.client, &event).await.unwrap();
    stage.peers_were(|book| !book.started.is_empty()).await;
    let others = [stage.start().await, stage.start().await, stage.start().await];
    server.crash();
    stage.change_peers(|book| book.jobs_down = false);
    tamper(&stage, "UPDATE outbox SET lease_until = 0, next_at = 0 WHERE done_at IS NULL").await;
    stage.order_is(&others[0].client, &order.id, |order| !order.job_id.is_empty()).await;
    let orders: Vec<_> = stage.book.borrow().started.iter().map(|call| call.order_id.clone()).collect();
    assert!(orders.iter().all(|started| *started == order.id));
    assert_eq!(count(&stage, "outbox WHERE done_at IS NOT NULL").await, 1);
}

/// Numbers and times of rows are given before their transactions commit: who looks only behind the last one seen misses
/// those that commit late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_that_is_committed_after_a_later_one_is_not_passed_over() {
    if !Backend::postgres_is_there() {
        return;
    }
    let stage = Stage::new(Backend::Postgres).await;
    let server = stage.start().await;
    let first = stage.checkout(&server.client, "first").await.unwrap();
    let second = stage.checkout(&server.client, "second").await.unwrap();
    // The first wish is written, its transaction lingers.
    let lingering = stage.database().await.begin_write().await.unwrap();
    let wish = format!(
        "INSERT INTO outbox (id, intent, order_id, document_id, kind, payload, attempts, next_at, lease_until,
            lease_epoch, created_at, last_error)
        VALUES ('{}', 'start_job:{}', '{}', 'first', 'start_job', '{{\"StartJob\":{{\"user_id\":\"ada\",\"pages\":12}}}}',
            0, 0, 0, 0, 0, '')",
        stage.world.id(),
        first.id,
        first.id
    );
    lingering.execute_unprepared(&wish).await.unwrap();
    stage.clock.advance(std::time::Duration::from_secs(1));
    let event = session_event("evt_2", "checkout.session.completed", &second, json!({}));
    stage.deliver(&server.client, &event).await.unwrap();
    stage.order_is(&server.client, &second.id, |order| !order.job_id.is_empty()).await;
    assert!(!stage.book.borrow().jobs.contains_key(&first.id));
    lingering.commit().await.unwrap();
    stage.order_is(&server.client, &first.id, |order| !order.job_id.is_empty()).await;
    let orders: Vec<_> = stage.book.borrow().started.iter().map(|call| call.order_id.clone()).collect();
    assert_eq!(orders, [second.id, first.id]);
}
