//! Three records of the same facts are compared: what differs is told, mended once, and then gone.

use std::time::Duration;

use quire_proto::job::v1::{JobStatus, OrderJob};
use quire_proto::payment::v1 as pb;
use quire_proto::payment::v1::FindingKind;
use quire_sandbox::Behaviour;
use quire_testkit::Backend;
use serde_json::json;
use tonic::Code;

use crate::events::session_event;
use crate::ledger::{balance, balances, count, tamper, texts};
use crate::settle::paid_order;
use crate::stage::{Client, Stage};

/// Payments while no webhook comes through.
const BLOCKED: usize = 100;
/// Longer than what is on its way is left alone.
const GRACE: Duration = Duration::from_secs(90);

quire_testkit::on_both_databases!(
    payments_that_no_webhook_told_of_are_found_once,
    a_payment_and_its_refund_that_were_both_missed_are_found_together,
    looking_only_mends_nothing,
    an_order_that_is_behind_is_brought_up,
    a_paid_order_without_a_job_gets_one,
    a_job_without_a_payment_is_stopped,
    an_outcome_that_was_missed_is_settled,
    a_refund_that_differs_is_entered,
    books_that_do_not_balance_are_told,
    only_the_operator_compares,
);

fn kinds(findings: &[pb::Finding]) -> Vec<FindingKind> {
    findings.iter().map(pb::Finding::kind).collect()
}

/// What an administrator is shown.
async fn mismatches(stage: &Stage, client: &Client) -> Vec<pb::Finding> {
    let request = stage.as_admin(pb::ListMismatchesRequest {});
    client.clone().list_mismatches(request).await.unwrap().into_inner().findings
}

fn hold(stage: &Stage) {
    stage.sandbox.set_behaviour(Behaviour { hold: true, ..Behaviour::default() });
}

async fn release(stage: &Stage) {
    stage.sandbox.set_behaviour(Behaviour { duplicates: 1, shuffle: true, ..Behaviour::default() });
    stage.sandbox.drained().await;
}

async fn payments_that_no_webhook_told_of_are_found_once(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    hold(&stage);
    let mut orders = Vec::new();
    for place in 0..BLOCKED {
        let order = stage.checkout(client, &format!("document {place}")).await.unwrap();
        stage.pay(&order).await;
        orders.push(order);
    }
    stage.clock.advance(GRACE);
    assert_eq!(count(&stage, "inbox_events").await, 0);
    let found = stage.reconcile(client, false).await;
    assert_eq!(found.len(), 3 * BLOCKED);
    assert!(found.iter().all(|finding| finding.kind() == FindingKind::EventMissed && finding.mended));
    assert!(found.iter().all(|finding| orders.iter().any(|order| order.id == finding.order_id)));
    stage.peers_were(|book| book.jobs.len() == BLOCKED).await;
    for order in &orders {
        stage.order_is(client, &order.id, |order| !order.job_id.is_empty()).await;
    }
    let rows = async || {
        let mut rows = Vec::new();
        for table in ["orders", "inbox_events", "outbox", "ledger_entries", "payments", "refunds", "audit"] {
            rows.push(count(&stage, table).await);
        }
        rows
    };
    let after = rows().await;
    assert_eq!(stage.reconcile(client, false).await, vec![]);
    assert_eq!(rows().await, after);
    release(&stage).await;
    assert_eq!(rows().await, after);
    assert_eq!(stage.book.borrow().started.len(), BLOCKED);
    assert_eq!(balance(&stage, "sales").await, -600 * i64::try_from(BLOCKED).unwrap());
    assert_eq!(balances(&stage).await, vec![0; BLOCKED]);
}

async fn a_payment_and_its_refund_that_were_both_missed_are_found_together(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    hold(&stage);
    let order = stage.checkout(&server.client, "document").await.unwrap();
    stage.pay(&order).await;
    let session = stage.provider("/v1/checkout/sessions").await["data"][0].clone();
    let payment = session["payment_intent"].as_str().unwrap();
    stage.provider_post("/v1/refunds", &[("payment_intent", payment), ("amount", "150")]).await;
    // Somebody else on the same account has a refund too.
    let other =
        [("amount", "900"), ("currency", "eur"), ("payment_method", "pm_card_visa"), ("confirm", "true")];
    let other = stage.provider_post("/v1/payment_intents", &other).await;
    let other = other["id"].as_str().unwrap();
    stage.provider_post("/v1/refunds", &[("payment_intent", other)]).await;
    let looked = stage.reconcile(&server.client, true).await;
    let found = stage.reconcile(&server.client, false).await;
    assert_eq!(kinds(&found), [FindingKind::EventMissed; 5], "{found:?}");
    assert!(found.iter().all(|finding| finding.order_id == order.id), "{found:?}");
    assert_eq!(kinds(&looked)[..5], kinds(&found), "looking told less");
    let order = stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(order.refunded.unwrap().amount_minor, 150);
    stage.clock.advance(GRACE);
    assert_eq!(stage.reconcile(&server.client, false).await, vec![]);
    release(&stage).await;
    assert_eq!(balance(&stage, "provider").await, 450);
    assert_eq!(count(&stage, "refunds").await, 1);
}

async fn looking_only_mends_nothing(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let paid = paid_order(&stage, client).await;
    hold(&stage);
    let open = stage.checkout(client, "another document").await.unwrap();
    stage.pay(&open).await;
    stage.clock.advance(GRACE);
    stage.change_peers(|book| {
        book.jobs.remove(&paid.id);
    });
    for _ in 0..2 {
        let found = stage.reconcile(client, true).await;
        assert!(found.iter().all(|finding| !finding.mended));
        let mut kinds = kinds(&found);
        kinds.dedup();
        let expected = [FindingKind::EventMissed, FindingKind::OrderBehind, FindingKind::PaidWithoutJob];
        assert_eq!(kinds, expected);
    }
    assert_eq!(count(&stage, "orders WHERE status = 'open'").await, 1);
    assert_eq!(count(&stage, "inbox_events").await, 3);
    assert_eq!(stage.book.borrow().started.len(), 1);
}

async fn an_order_that_is_behind_is_brought_up(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    // The events came and were lost again: only the provider knows.
    hold(&stage);
    stage.pay(&order).await;
    stage.forget_servers();
    let rows = "INSERT INTO inbox_events (event_id, kind, payload, sha256, status, reason, received_at)
        VALUES ('{id}', 'x', '{}', '', 'done', '', 0)";
    let events = stage.provider("/v1/events?limit=100").await;
    for event in events["data"].as_array().unwrap() {
        tamper(&stage, &rows.replace("{id}", event["id"].as_str().unwrap())).await;
    }
    let found = stage.reconcile(&server.client, false).await;
    assert_eq!(kinds(&found), [FindingKind::OrderBehind]);
    let expected = (order.id.as_str(), "paid", true);
    assert_eq!((found[0].order_id.as_str(), found[0].detail.as_str(), found[0].mended), expected);
    let order = stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(order.status(), pb::OrderStatus::Paid);
    assert_eq!(stage.reconcile(&server.client, false).await, vec![]);
}

async fn a_paid_order_without_a_job_gets_one(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    for (lost, times) in [("UPDATE outbox SET lease_until = 0", 2), ("DELETE FROM outbox", 3)] {
        // The wish was done and its job is gone; or the wish is gone too.
        tamper(&stage, lost).await;
        stage.change_peers(|book| book.jobs.clear());
        assert_eq!(mismatches(&stage, client).await, vec![], "it may be on its way");
        stage.clock.advance(GRACE);
        let found = mismatches(&stage, client).await;
        assert_eq!(kinds(&found), [FindingKind::PaidWithoutJob]);
        assert_eq!((found[0].order_id.as_str(), found[0].mended), (order.id.as_str(), true));
        let book = stage.peers_were(|book| book.started.len() == times).await;
        let call = book.started.last().unwrap();
        assert_eq!(
            (call.order_id.as_str(), call.pages, call.user_id.as_str()),
            (order.id.as_str(), 12, "ada")
        );
        stage
            .until("the wish is done", async || count(&stage, "outbox WHERE done_at IS NULL").await == 0)
            .await;
        assert_eq!(mismatches(&stage, client).await, vec![]);
        tamper(&stage, "UPDATE orders SET paid_at = paid_at + 90000000").await;
    }
    assert_eq!(count(&stage, "outbox").await, 1);
}

async fn a_job_without_a_payment_is_stopped(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let open = stage.checkout(client, "document").await.unwrap();
    let unknown = stage.world.id();
    hold(&stage);
    let late = stage.checkout(client, "paid, but nobody told").await.unwrap();
    stage.pay(&late).await;
    stage.change_peers(|book| {
        for id in [&open.id, &unknown, &late.id] {
            let job = OrderJob {
                order_id: id.clone(),
                job_id: format!("job-of-{id}"),
                status: JobStatus::Running.into(),
                delivered_pages: 0,
            };
            book.jobs.insert(id.clone(), job);
        }
    });
    let mut found = mismatches(&stage, client).await;
    found.sort_by(|one, other| one.detail.cmp(&other.detail));
    assert_eq!(kinds(&found), [FindingKind::JobWithoutPayment; 3]);
    assert!(found.iter().all(|finding| finding.mended), "{found:?}");
    let mut cancelled = stage.book.borrow().cancelled.clone();
    cancelled.sort();
    let mut expected = vec![open.id.clone(), unknown];
    expected.sort();
    // For the third the provider was asked: it is paid.
    assert_eq!(cancelled, expected);
    assert_eq!(stage.order(client, &late.id).await.status(), pb::OrderStatus::Paid);
    assert_eq!(stage.order(client, &open.id).await.status(), pb::OrderStatus::Open);
}

async fn an_outcome_that_was_missed_is_settled(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let mut orders = Vec::new();
    for (place, (status, pages)) in [
        (JobStatus::Completed, 11),
        (JobStatus::Failed, 0),
        (JobStatus::Cancelled, 3),
        (JobStatus::Running, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let order = stage.checkout(client, &format!("document {place}")).await.unwrap();
        stage.pay(&order).await;
        stage.sandbox.drained().await;
        stage.order_is(client, &order.id, |order| !order.job_id.is_empty()).await;
        stage.change_peers(|book| {
            let job = book.jobs.get_mut(&order.id).unwrap();
            (job.status, job.delivered_pages) = (status.into(), pages);
        });
        orders.push(order.id);
    }
    stage.clock.advance(GRACE);
    let found = mismatches(&stage, client).await;
    assert_eq!(kinds(&found), [FindingKind::OutcomeMissed; 3]);
    for (id, status, back) in [
        (&orders[0], pb::OrderStatus::Delivered, 50),
        (&orders[1], pb::OrderStatus::Refunded, 600),
        (&orders[2], pb::OrderStatus::Delivered, 450),
        (&orders[3], pb::OrderStatus::Paid, 0),
    ] {
        let so = |order: &pb::Order| {
            order.status() == status && order.refunded.as_ref().unwrap().amount_minor == back
        };
        stage.order_is(client, id, so).await;
    }
    assert_eq!(mismatches(&stage, client).await, vec![]);
}

async fn a_refund_that_differs_is_entered(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    let payment = texts(&stage, "SELECT id AS n FROM payments").await.remove(0);
    hold(&stage);
    stage.provider_post("/v1/refunds", &[("payment_intent", &payment), ("amount", "250")]).await;
    let events = stage.provider("/v1/events?limit=2").await;
    // Its events were stored, but what they brought about is lost.
    for event in events["data"].as_array().unwrap() {
        let id = event["id"].as_str().unwrap();
        let row = format!(
            "INSERT INTO inbox_events (event_id, kind, payload, sha256, status, reason, received_at)
            VALUES ('{id}', 'x', '', '', 'done', '', 0)"
        );
        tamper(&stage, &row).await;
    }
    assert_eq!(stage.reconcile(client, false).await, vec![], "it may be on its way");
    stage.clock.advance(GRACE);
    let found = stage.reconcile(client, false).await;
    assert_eq!(kinds(&found), [FindingKind::RefundDiffers]);
    let expected = (payment.as_str(), "250 at the provider, 0 here", true);
    assert_eq!((found[0].subject.as_str(), found[0].detail.as_str(), found[0].mended), expected);
    assert_eq!(stage.order(client, &order.id).await.refunded.unwrap().amount_minor, 250);
    let made = stage.refunds(client).await;
    assert_eq!((made.len(), made[0].status()), (1, pb::RefundStatus::Succeeded));
    assert_eq!(balance(&stage, "provider").await, 350);
    assert_eq!(stage.reconcile(client, false).await, vec![]);
    // And the other way: the books say more than went back.
    tamper(&stage, "UPDATE payments SET seen_minor = 400, refunded_minor = 400").await;
    let found = stage.reconcile(client, false).await;
    assert_eq!(kinds(&found), [FindingKind::RefundDiffers]);
    assert_eq!(stage.order(client, &order.id).await.refunded.unwrap().amount_minor, 250);
    assert_eq!(stage.reconcile(client, false).await, vec![]);
    assert_eq!(balances(&stage).await, vec![0]);
}

async fn books_that_do_not_balance_are_told(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = paid_order(&stage, &server.client).await;
    tamper(&stage, "UPDATE ledger_entries SET amount_minor = amount_minor + 7 WHERE account = 'sales'").await;
    let found = mismatches(&stage, &server.client).await;
    assert_eq!(kinds(&found), [FindingKind::LedgerUnbalanced]);
    let expected = (order.id.as_str(), "EUR", "the entries sum to 7", false);
    let finding = &found[0];
    let told = (finding.order_id.as_str(), finding.subject.as_str(), finding.detail.as_str(), finding.mended);
    assert_eq!(told, expected);
}

async fn only_the_operator_compares(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let mut client = server.client.clone();
    let refused = |code: Code| matches!(code, Code::PermissionDenied | Code::Unauthenticated);
    let status = client.reconcile(stage.as_user("ada", pb::ReconcileRequest::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    for service in ["document", "background-job", "gateway"] {
        let request = stage.as_service(service, pb::ReconcileRequest::default());
        assert!(refused(client.reconcile(request).await.unwrap_err().code()));
        let request = stage.as_service(service, pb::ListDeadLettersRequest {});
        assert!(refused(client.list_dead_letters(request).await.unwrap_err().code()));
    }
    let request = stage.as_user("ada", pb::ListMismatchesRequest {});
    assert_eq!(client.list_mismatches(request).await.unwrap_err().code(), Code::PermissionDenied);
    let request = stage.as_user("ada", pb::ListDeadLettersRequest {});
    assert_eq!(client.list_dead_letters(request).await.unwrap_err().code(), Code::PermissionDenied);
    let message =
        pb::RedriveDeadLetterRequest { kind: pb::DeadLetterKind::Event.into(), id: "evt".to_owned() };
    let request = stage.as_user("ada", message);
    assert_eq!(client.redrive_dead_letter(request).await.unwrap_err().code(), Code::PermissionDenied);
    client.reconcile(stage.as_admin(pb::ReconcileRequest { dry_run: true })).await.unwrap();
    // Other things that happen to orders are no mismatch.
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let event = session_event("evt_1", "checkout.session.expired", &order, json!({}));
    stage.deliver(&server.client, &event).await.unwrap();
    assert_eq!(mismatches(&stage, &server.client).await, vec![]);
}
