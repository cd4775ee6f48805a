//! How jobs end: delivered, or the money goes back once.

use quire_fault::{Fault, Rule, Violation};
use quire_proto::payment::v1 as pb;
use quire_testkit::Backend;
use tonic::Code;

use crate::ledger::{balance, balances, count};
use crate::peers::PAGES;
use crate::stage::{Client, Stage};

quire_testkit::on_both_databases!(
    a_failed_job_refunds_its_order_once_however_often_it_is_said,
    a_delivered_order_stays_delivered,
    only_the_job_service_settles_and_only_paid_orders,
    pages_that_are_missing_are_paid_back,
    more_pages_than_were_paid_are_a_present,
    outcomes_that_contradict_themselves_are_refused,
);

/// The job of an order has ended, with all pages or none.
pub async fn settle(
    stage: &Stage,
    client: &Client,
    order_id: &str,
    outcome: pb::JobOutcome,
) -> Result<pb::OrderStatus, tonic::Status> {
    let pages = if outcome == pb::JobOutcome::Delivered { PAGES } else { 0 };
    settle_pages(stage, client, order_id, (outcome, pages)).await
}

pub async fn settle_pages(
    stage: &Stage,
    client: &Client,
    order_id: &str,
    (outcome, delivered_pages): (pb::JobOutcome, i32),
) -> Result<pb::OrderStatus, tonic::Status> {
    let message = pb::SettleOrderRequest {
        order_id: order_id.to_owned(),
        job_id: format!("job-of-{order_id}"),
        outcome: outcome.into(),
        delivered_pages,
    };
    settle_as(stage, client, message).await
}

pub async fn settle_as(
    stage: &Stage,
    client: &Client,
    message: pb::SettleOrderRequest,
) -> Result<pb::OrderStatus, tonic::Status> {
    let request = stage.as_service("background-job", message);
    client.clone().settle_order(request).await.map(|answer| answer.into_inner().status())
}

pub async fn paid_order(stage: &Stage, client: &Client) -> pb::Order {
    let order = stage.checkout(client, "document").await.unwrap();
    stage.pay(&order).await;
    stage.sandbox.drained().await;
    stage.order_is(client, &order.id, |order| !order.job_id.is_empty()).await
}

async fn a_failed_job_refunds_its_order_once_however_often_it_is_said(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = [stage.start().await, stage.start().await];
    let client = &servers[0].client;
    let order = paid_order(&stage, client).await;
    let calls = (0..10).map(|call| {
        let outcome = if call % 3 == 0 { pb::JobOutcome::Cancelled } else { pb::JobOutcome::Failed };
        settle(&stage, &servers[call % 2].client, &order.id, outcome)
    });
    for status in futures::future::join_all(calls).await {
        let status = status.unwrap();
        assert!(matches!(status, pb::OrderStatus::RefundPending | pb::OrderStatus::Refunded), "{status:?}");
    }
    let refunded = |order: &pb::Order| order.status() == pb::OrderStatus::Refunded;
    stage.order_is(client, &order.id, refunded).await;
    // The provider's own count: what was charged less what went back.
    let funds = stage.provider("/v1/balance").await;
    let eur = funds["available"].as_array().unwrap().iter().find(|row| row["currency"] == "eur").unwrap();
    assert_eq!(eur["amount"], 0);
    stage.sandbox.drained().await;
    let refunds = stage.provider("/v1/events?type=refund.created").await;
    assert_eq!(refunds["data"].as_array().unwrap().len(), 1);
    assert_eq!(balances(&stage).await, vec![0]);
    for account in ["provider", "sales", "refunds_due"] {
        assert_eq!(balance(&stage, account).await, 0, "{account}");
    }
    assert_eq!(count(&stage, "outbox WHERE kind = 'refund'").await, 1);
    let late = settle(&stage, client, &order.id, pb::JobOutcome::Delivered).await.unwrap();
    assert_eq!(late, pb::OrderStatus::Refunded);
}

async fn a_delivered_order_stays_delivered(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = paid_order(&stage, &server.client).await;
    for outcome in [pb::JobOutcome::Delivered, pb::JobOutcome::Delivered, pb::JobOutcome::Failed] {
        let status = settle(&stage, &server.client, &order.id, outcome).await.unwrap();
        assert_eq!(status, pb::OrderStatus::Delivered);
    }
    assert_eq!(count(&stage, "outbox WHERE kind = 'refund'").await, 0);
    let fault = stage.checkout(&server.client, "document").await.unwrap_err();
    assert_eq!(fault.reason, "ALREADY_PAID");
}

async fn only_the_job_service_settles_and_only_paid_orders(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let status = settle(&stage, &server.client, &order.id, pb::JobOutcome::Failed).await.unwrap_err();
    assert_eq!(Fault::from(&status).reason, "ORDER_NOT_PAID");
    let status = settle(&stage, &server.client, "nothing", pb::JobOutcome::Failed).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let status = settle(&stage, &server.client, &order.id, pb::JobOutcome::Unspecified).await.unwrap_err();
    assert_eq!(Fault::from(&status).violations[0].field, "outcome");
    stage.pay(&order).await;
    stage.sandbox.drained().await;
    let message = pb::SettleOrderRequest {
        order_id: order.id.clone(),
        job_id: "another".to_owned(),
        outcome: pb::JobOutcome::Failed.into(),
        delivered_pages: 0,
    };
    stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
    let request = stage.as_service("background-job", message.clone());
    let status = server.client.clone().settle_order(request).await.unwrap_err();
    assert_eq!(Fault::from(&status).reason, "OTHER_JOB");
    let request = stage.as_service("document", message.clone());
    let status = server.client.clone().settle_order(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let request = stage.as_user("ada", message);
    let status = server.client.clone().settle_order(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(stage.order(&server.client, &order.id).await.status(), pb::OrderStatus::Paid);
}

async fn pages_that_are_missing_are_paid_back(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = [stage.start().await, stage.start().await];
    let client = &servers[0].client;
    for (place, (outcome, pages, back, reason)) in [
        (pb::JobOutcome::Delivered, 10, 100, "PAGES_MISSING"),
        (pb::JobOutcome::Cancelled, 5, 350, "JOB_CANCELLED"),
    ]
    .into_iter()
    .enumerate()
    {
        let order = stage.checkout(client, &format!("document {place}")).await.unwrap();
        stage.pay(&order).await;
        stage.sandbox.drained().await;
        stage.order_is(client, &order.id, |order| !order.job_id.is_empty()).await;
        let calls =
            (0..6).map(|call| settle_pages(&stage, &servers[call % 2].client, &order.id, (outcome, pages)));
        for status in futures::future::join_all(calls).await {
            assert_eq!(status.unwrap(), pb::OrderStatus::Delivered);
        }
        let refunded = |order: &pb::Order| order.refunded.as_ref().unwrap().amount_minor == back;
        let order = stage.order_is(client, &order.id, refunded).await;
        assert_eq!((order.status(), order.delivered_pages), (pb::OrderStatus::Delivered, pages));
        let all = stage.refunds(client).await;
        let refund = all.iter().find(|refund| refund.order_id == order.id).unwrap();
        assert_eq!((refund.reason.as_str(), refund.amount.as_ref().unwrap().amount_minor), (reason, back));
        // What was delivered was earned; the customer may still ask for it.
        let fault = stage.request_refund(client, &order.id, Some(600 - back + 1)).await.unwrap_err();
        assert_eq!(fault.reason, "REFUND_TOO_LARGE");
    }
    assert_eq!(count(&stage, "refunds").await, 2);
    assert_eq!(balances(&stage).await, vec![0; 2]);
    assert_eq!(balance(&stage, "sales").await, -500 - 250);
    assert_eq!(balance(&stage, "refunds_due").await, 0);
}

async fn more_pages_than_were_paid_are_a_present(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = paid_order(&stage, &server.client).await;
    let more = (pb::JobOutcome::Delivered, i32::MAX);
    let status = settle_pages(&stage, &server.client, &order.id, more).await.unwrap();
    assert_eq!(status, pb::OrderStatus::Delivered);
    assert_eq!(count(&stage, "refunds").await, 0);
    assert_eq!(balance(&stage, "sales").await, -600);
}

async fn outcomes_that_contradict_themselves_are_refused(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = paid_order(&stage, &server.client).await;
    for (outcome, pages, rule) in [
        (pb::JobOutcome::Delivered, 0, Rule::GreaterThanEqual(1)),
        (pb::JobOutcome::Delivered, -1, Rule::GreaterThanEqual(1)),
        (pb::JobOutcome::Failed, 1, Rule::LessThanEqual(0)),
        (pb::JobOutcome::Cancelled, i32::MIN, Rule::GreaterThanEqual(0)),
    ] {
        let status = settle_pages(&stage, &server.client, &order.id, (outcome, pages)).await.unwrap_err();
        let violations = Fault::from(&status).violations;
        assert_eq!(violations, [Violation::new("delivered_pages", rule)]);
    }
    for (order_id, job_id) in [("\0", "job"), (order.id.as_str(), "job-\0"), ("", "")] {
        let message = pb::SettleOrderRequest {
            order_id: order_id.to_owned(),
            job_id: job_id.to_owned(),
            outcome: pb::JobOutcome::Failed.into(),
            delivered_pages: 0,
        };
        let status = settle_as(&stage, &server.client, message).await.unwrap_err();
        let expected = [Code::NotFound, Code::InvalidArgument, Code::FailedPrecondition];
        assert!(expected.contains(&status.code()), "{status:?}");
    }
    assert_eq!(stage.order(&server.client, &order.id).await.status(), pb::OrderStatus::Paid);
}
