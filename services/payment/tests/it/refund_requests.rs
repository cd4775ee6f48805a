//! Customers ask for money back, an administrator decides.

use futures::future::join_all;
use quire_fault::{Fault, Kind, Rule};
use quire_proto::payment::v1 as pb;
use quire_testkit::Backend;
use tonic::Code;

use crate::ledger::{balance, balances, count};
use crate::settle::{paid_order, settle};
use crate::stage::{Client, Stage};

quire_testkit::on_both_databases!(
    an_approved_wish_is_paid_once_however_often_it_is_approved,
    a_rejected_wish_stays_rejected,
    no_more_goes_back_than_was_paid,
    each_sees_and_asks_for_their_own,
    wrong_values_are_named_with_their_rules,
    only_money_that_is_here_can_go_back,
    the_coins_of_a_currency_are_the_smallest_that_go_back,
);

async fn list(
    stage: &Stage,
    client: &Client,
    user: &str,
    message: pb::ListRefundsRequest,
) -> pb::ListRefundsResponse {
    client.clone().list_refunds(stage.as_user(user, message)).await.unwrap().into_inner()
}

async fn an_approved_wish_is_paid_once_however_often_it_is_approved(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = [stage.start().await, stage.start().await];
    let client = &servers[0].client;
    let order = paid_order(&stage, client).await;
    let wish = stage.request_refund(client, &order.id, Some(250)).await.unwrap();
    assert_eq!(wish.status(), pb::RefundStatus::Requested);
    assert_eq!((wish.reason.as_str(), wish.note.as_str()), ("it is about wasps", ""));
    assert_eq!(wish.amount, Some(pb::Money { amount_minor: 250, currency: "EUR".to_owned() }));
    // Nothing happens by itself.
    assert_eq!(count(&stage, "outbox WHERE kind = 'refund'").await, 0);
    let approvals = (0..8).map(|place| stage.decide(&servers[place % 2].client, &wish.id, true));
    for approved in join_all(approvals).await {
        let approved = approved.unwrap();
        assert!(matches!(approved.status(), pb::RefundStatus::Pending | pb::RefundStatus::Succeeded));
        assert_eq!(approved.note, "looked into it");
        assert!(approved.decided_at.is_some());
    }
    let refunded = |order: &pb::Order| order.refunded.as_ref().unwrap().amount_minor == 250;
    stage.order_is(client, &order.id, refunded).await;
    let again = stage.decide(client, &wish.id, true).await.unwrap();
    assert_eq!(again.status(), pb::RefundStatus::Succeeded);
    let fault = stage.decide(client, &wish.id, false).await.unwrap_err();
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Conflict, "REFUND_DECIDED"));
    let made = stage.provider("/v1/refunds").await;
    assert_eq!(made["data"].as_array().unwrap().len(), 1);
    assert_eq!(made["data"][0]["metadata"]["refund_id"], wish.id.as_str());
    assert_eq!(stage.order(client, &order.id).await.status(), pb::OrderStatus::Paid);
    assert_eq!(balance(&stage, "provider").await, 350);
    assert_eq!(balances(&stage).await, vec![0]);

    // The rest: then nothing is left of the order, and its job is stopped.
    let rest = stage.request_refund(client, &order.id, None).await.unwrap();
    assert_eq!(rest.amount.as_ref().unwrap().amount_minor, 350);
    stage.decide(client, &rest.id, true).await.unwrap();
    let refunded = |order: &pb::Order| order.status() == pb::OrderStatus::Refunded;
    stage.order_is(client, &order.id, refunded).await;
    stage.peers_were(|book| book.cancelled == [order.id.clone()]).await;
    let fault = stage.request_refund(client, &order.id, None).await.unwrap_err();
    assert_eq!(fault.reason, "ORDER_NOT_REFUNDABLE");
    assert_eq!(balance(&stage, "provider").await, 0);
}

async fn a_rejected_wish_stays_rejected(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = paid_order(&stage, &server.client).await;
    let wish = stage.request_refund(&server.client, &order.id, None).await.unwrap();
    for _ in 0..2 {
        let rejected = stage.decide(&server.client, &wish.id, false).await.unwrap();
        assert_eq!(rejected.status(), pb::RefundStatus::Rejected);
    }
    let fault = stage.decide(&server.client, &wish.id, true).await.unwrap_err();
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Conflict, "REFUND_DECIDED"));
    assert_eq!(count(&stage, "outbox WHERE kind = 'refund'").await, 0);
    // The customer may ask again.
    let again = stage.request_refund(&server.client, &order.id, None).await.unwrap();
    assert_ne!(again.id, wish.id);
    let unknown = stage.decide(&server.client, &stage.world.id(), true).await.unwrap_err();
    assert_eq!((unknown.kind, unknown.reason.as_str()), (Kind::NotFound, "REFUND_NOT_FOUND"));
}

async fn no_more_goes_back_than_was_paid(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    let too_much = stage.request_refund(client, &order.id, Some(601)).await.unwrap_err();
    assert_eq!((too_much.kind, too_much.reason.as_str()), (Kind::Conflict, "REFUND_TOO_LARGE"));
    // Wishes are only wishes: two may come to more than there is, but only one of them is granted.
    let first = stage.request_refund(client, &order.id, Some(400)).await.unwrap();
    let second = stage.request_refund(client, &order.id, Some(400)).await.unwrap();
    let decisions = join_all([&first, &second].map(|wish| stage.decide(client, &wish.id, true))).await;
    let granted = decisions.iter().filter(|decision| decision.is_ok()).count();
    assert_eq!(granted, 1);
    let fault = decisions.into_iter().find_map(Result::err).unwrap();
    assert_eq!(fault.reason, "REFUND_TOO_LARGE");
    assert!(fault.message.contains("200"), "{}", fault.message);
    let refunded = |order: &pb::Order| order.refunded.as_ref().unwrap().amount_minor == 400;
    stage.order_is(client, &order.id, refunded).await;
    // What a failed job owes is what is left.
    settle(&stage, client, &order.id, pb::JobOutcome::Failed).await.unwrap();
    let refunded = |order: &pb::Order| order.status() == pb::OrderStatus::Refunded;
    let order = stage.order_is(client, &order.id, refunded).await;
    assert_eq!(order.refunded.unwrap().amount_minor, 600);
    assert_eq!(balance(&stage, "provider").await, 0);
    assert_eq!(balance(&stage, "refunds_due").await, 0);
}

async fn each_sees_and_asks_for_their_own(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let order = paid_order(&stage, client).await;
    let mut wishes = Vec::new();
    for amount in [10, 20, 30] {
        stage.clock.advance(std::time::Duration::from_secs(1));
        wishes.push(stage.request_refund(client, &order.id, Some(amount)).await.unwrap());
    }
    wishes.reverse();
    stage.decide(client, &wishes[0].id, false).await.unwrap();
    let first = pb::ListRefundsRequest { page_size: 2, ..Default::default() };
    let page = list(&stage, client, "ada", first.clone()).await;
    let ids = |page: &pb::ListRefundsResponse| {
        page.refunds.iter().map(|refund| refund.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&page), [wishes[0].id.clone(), wishes[1].id.clone()]);
    let next = pb::ListRefundsRequest { page_token: page.next_page_token, ..first };
    let page = list(&stage, client, "ada", next).await;
    assert_eq!((ids(&page), page.next_page_token.as_str()), (vec![wishes[2].id.clone()], ""));
    let rejected = pb::ListRefundsRequest { status: pb::RefundStatus::Rejected.into(), ..Default::default() };
    assert_eq!(ids(&list(&stage, client, "ada", rejected).await), [wishes[0].id.clone()]);
    let of_order = pb::ListRefundsRequest { order_id: order.id.clone(), ..Default::default() };
    assert_eq!(list(&stage, client, "ada", of_order.clone()).await.refunds.len(), 3);
    assert!(list(&stage, client, "eve", of_order).await.refunds.is_empty());
    assert!(list(&stage, client, "eve", pb::ListRefundsRequest::default()).await.refunds.is_empty());
    let odd = pb::ListRefundsRequest { order_id: "\0".to_owned(), ..Default::default() };
    assert!(list(&stage, client, "ada", odd).await.refunds.is_empty());
    assert_eq!(stage.refunds(client).await.len(), 3);

    let message = pb::RequestRefundRequest {
        order_id: order.id.clone(),
        reason: "mine now".to_owned(),
        ..Default::default()
    };
    let request = stage.as_user("eve", message.clone());
    let fault = Fault::from(&client.clone().request_refund(request).await.unwrap_err());
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::NotFound, "ORDER_NOT_FOUND"));
    // Not even an administrator asks for somebody else, and no customer decides.
    let fault = client.clone().request_refund(stage.as_admin(message)).await.unwrap_err();
    assert_eq!(fault.code(), Code::NotFound);
    let decision =
        pb::DecideRefundRequest { refund_id: wishes[1].id.clone(), approve: true, note: String::new() };
    let request = stage.as_user("ada", decision.clone());
    let fault = Fault::from(&client.clone().decide_refund(request).await.unwrap_err());
    assert_eq!((fault.kind, fault.kind.http().as_u16()), (Kind::Forbidden, 403));
    let request = stage.as_service("background-job", decision);
    let status = client.clone().decide_refund(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(count(&stage, "refunds WHERE status = 'requested'").await, 2);
}

async fn wrong_values_are_named_with_their_rules(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = paid_order(&stage, &server.client).await;
    let good = pb::RequestRefundRequest {
        order_id: order.id.clone(),
        amount_minor: None,
        reason: "wasps".to_owned(),
        idempotency_key: String::new(),
    };
    let refused = async |message: pb::RequestRefundRequest| {
        let request = stage.as_user("ada", message);
        let fault = Fault::from(&server.client.clone().request_refund(request).await.unwrap_err());
        assert_eq!(fault.kind.http().as_u16(), 422, "{fault:?}");
        fault.violations.into_iter().map(|broken| (broken.field, broken.rule)).collect::<Vec<_>>()
    };
    for amount in [0, -1, i64::MIN] {
        let wrong = pb::RequestRefundRequest { amount_minor: Some(amount), ..good.clone() };
        assert_eq!(refused(wrong).await, [("amount_minor".to_owned(), Rule::GreaterThanEqual(1))]);
    }
    let wrong = pb::RequestRefundRequest { reason: "x".repeat(1001), ..good.clone() };
    assert_eq!(refused(wrong).await, [("reason".to_owned(), Rule::StringTooLong(1000))]);
    let wrong = pb::RequestRefundRequest { reason: String::new(), ..good.clone() };
    assert_eq!(refused(wrong).await, [("reason".to_owned(), Rule::StringTooShort(1))]);
    let nul = |reason: &str| pb::RequestRefundRequest { reason: reason.to_owned(), ..good.clone() };
    assert_eq!(refused(nul("a\0b")).await[0].0, "reason");
    let nothing = pb::RequestRefundRequest { amount_minor: Some(0), ..Default::default() };
    let fields: Vec<String> = refused(nothing).await.into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["order_id", "reason", "amount_minor"]);
    // A thousand letters, not bytes.
    let longest = pb::RequestRefundRequest { reason: "ä".repeat(1000), amount_minor: Some(1), ..good };
    let request = stage.as_user("ada", longest);
    let wish = server.client.clone().request_refund(request).await.unwrap().into_inner().refund.unwrap();

    for (note, rule) in [("x".repeat(1001), Some(Rule::StringTooLong(1000))), ("a\0b".to_owned(), None)] {
        let message = pb::DecideRefundRequest { refund_id: wish.id.clone(), approve: true, note };
        let status = server.client.clone().decide_refund(stage.as_admin(message)).await.unwrap_err();
        let fault = Fault::from(&status);
        assert_eq!(fault.kind.http().as_u16(), 422, "{fault:?}");
        assert_eq!(fault.violations[0].field, "note");
        assert!(rule.is_none_or(|rule| fault.violations[0].rule == rule));
    }
    for refund_id in ["", "\0", "unknown"] {
        let fault = stage.decide(&server.client, refund_id, true).await.unwrap_err();
        assert_eq!(fault.reason, "REFUND_NOT_FOUND");
    }
    assert_eq!(count(&stage, "refunds WHERE status = 'requested'").await, 1);
}

async fn only_money_that_is_here_can_go_back(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let open = stage.checkout(client, "document").await.unwrap();
    let fault = stage.request_refund(client, &open.id, None).await.unwrap_err();
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Conflict, "ORDER_NOT_REFUNDABLE"));
    for unknown in [stage.world.id(), "\0".to_owned(), "nothing".to_owned()] {
        let fault = stage.request_refund(client, &unknown, None).await.unwrap_err();
        assert_eq!((fault.kind, fault.reason.as_str()), (Kind::NotFound, "ORDER_NOT_FOUND"));
    }
    let order = paid_order(&stage, client).await;
    let wish = stage.request_refund(client, &order.id, Some(100)).await.unwrap();
    settle(&stage, client, &order.id, pb::JobOutcome::Failed).await.unwrap();
    // The job's failure sends everything back: the wish is met.
    let fault = stage.decide(client, &wish.id, true).await.unwrap_err();
    assert_eq!(fault.reason, "ORDER_NOT_REFUNDABLE");
    let refunded = |order: &pb::Order| order.status() == pb::OrderStatus::Refunded;
    stage.order_is(client, &order.id, refunded).await;
    assert_eq!(stage.decide(client, &wish.id, false).await.unwrap().status(), pb::RefundStatus::Rejected);
    assert_eq!(balance(&stage, "provider").await, 0);
}

async fn the_coins_of_a_currency_are_the_smallest_that_go_back(backend: Backend) {
    let settings = [("QUIRE_CURRENCY", "KWD"), ("QUIRE_PRICE_PER_PAGE_MINOR", "150")];
    let stage = Stage::with_settings(backend, &settings).await;
    let server = stage.start().await;
    let order = paid_order(&stage, &server.client).await;
    let fault = stage.request_refund(&server.client, &order.id, Some(1005)).await.unwrap_err();
    assert_eq!(fault.violations[0].field, "amount_minor");
    let wish = stage.request_refund(&server.client, &order.id, Some(1010)).await.unwrap();
    stage.decide(&server.client, &wish.id, true).await.unwrap();
    let refunded = |order: &pb::Order| order.refunded.as_ref().unwrap().amount_minor == 1010;
    stage.order_is(&server.client, &order.id, refunded).await;
}
