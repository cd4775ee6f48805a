//! Refunds: at once, later, not at all.

use std::time::Duration;

use quire_sandbox::{Bank, Decision, RefundMode};
use serde_json::json;

use crate::shop::{Shop, id_of, ids};

#[tokio::test]
async fn refunds_never_exceed_the_charge() {
    let shop = Shop::open().await;
    let (_, intent) = shop.paid().await;
    let of = |amount: &str| format!("payment_intent={intent}{amount}");
    let first = shop.make("/v1/refunds", &of("&amount=100&reason=duplicate&metadata[why]=test")).await;
    assert_eq!((&first["amount"], &first["status"]), (&json!(100), &json!("succeeded")));
    let (status, error) = shop.refused("/v1/refunds", &of("&amount=26")).await;
    assert_eq!((status.as_u16(), &error["param"]), (400, &json!("amount")));
    let rest = shop.make("/v1/refunds", &of("")).await;
    assert_eq!(rest["amount"], 25);
    let (_, error) = shop.refused("/v1/refunds", &of("&amount=1")).await;
    assert_eq!(error["code"], "charge_already_refunded");

    let (_, events) = shop.get("/v1/events?types[]=charge.refunded&types[]=refund.created").await;
    let seen: Vec<_> = events["data"].as_array().unwrap().iter().collect();
    let kinds: Vec<_> = seen.iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["charge.refunded", "refund.created", "charge.refunded", "refund.created"]);
    let charges: Vec<_> = [seen[2], seen[0]].iter().map(|event| &event["data"]["object"]).collect();
    assert_eq!((&charges[0]["amount_refunded"], &charges[0]["refunded"]), (&json!(100), &json!(false)));
    assert_eq!((&charges[1]["amount_refunded"], &charges[1]["refunded"]), (&json!(125), &json!(true)));
    let (_, body) = shop.get(&format!("/v1/refunds/{}", id_of(&first))).await;
    assert_eq!(body, first);
}

#[tokio::test]
async fn an_unpaid_intent_and_an_unknown_one_cannot_be_refunded() {
    let shop = Shop::open().await;
    let session = shop.session().await;
    shop.press(&session, "decline").await;
    let (_, body) = shop.get(&format!("/v1/checkout/sessions/{session}")).await;
    let form = format!("payment_intent={}", body["payment_intent"].as_str().unwrap());
    assert_eq!(shop.refused("/v1/refunds", &form).await.1["code"], "payment_intent_unexpected_state");
    let (status, error) = shop.refused("/v1/refunds", "payment_intent=pi_none").await;
    assert_eq!((status.as_u16(), &error["code"]), (404, &json!("resource_missing")));
    let (_, error) = shop.refused("/v1/refunds", "amount=5").await;
    assert_eq!(error["code"], "parameter_missing");
}

/// What of a charge is refunded.
async fn refunded(shop: &Shop, charge: &str) -> i64 {
    let (_, charge) = shop.get(&format!("/v1/charges/{charge}")).await;
    charge["amount_refunded"].as_i64().unwrap()
}

#[tokio::test]
async fn a_charge_can_be_refunded_by_its_own_id() {
    let shop = Shop::open().await;
    let (intent, charge) = shop.charged("pm_card_visa").await;
    let refund = shop.make("/v1/refunds", &format!("charge={charge}&amount=50&expand[]=charge")).await;
    assert_eq!(
        (&refund["payment_intent"], &refund["charge"]["amount_refunded"]),
        (&json!(intent), &json!(50))
    );
    let (other, _) = shop.charged("pm_card_visa").await;
    let (_, error) = shop.refused("/v1/refunds", &format!("charge={charge}&payment_intent={other}")).await;
    assert_eq!(error["param"], "charge");

    let second =
        shop.make("/v1/refunds", &format!("payment_intent={intent}&charge={charge}&amount=70")).await;
    shop.make("/v1/refunds", &format!("payment_intent={other}")).await;
    let wanted = [id_of(&second), id_of(&refund)];
    for filter in [format!("payment_intent={intent}"), format!("charge={charge}")] {
        assert_eq!(ids(&shop.get(&format!("/v1/refunds?{filter}")).await.1), wanted, "{filter}");
    }
    assert_eq!(ids(&shop.get("/v1/refunds").await.1).len(), 3);
    assert_eq!(refunded(&shop, &charge).await, 120);
}

#[tokio::test]
async fn the_metadata_of_a_refund_changes_key_by_key() {
    let shop = Shop::open().await;
    let (intent, _) = shop.charged("pm_card_visa").await;
    let form = format!("payment_intent={intent}&metadata[a]=1&metadata[b]=2");
    let path = format!("/v1/refunds/{}", id_of(&shop.make("/v1/refunds", &form).await));
    let changed = shop.make(&path, "metadata[b]=&metadata[c]=3").await;
    assert_eq!(changed["metadata"], json!({ "a": "1", "c": "3" }));
    assert_eq!(shop.make(&path, "metadata=").await["metadata"], json!({}));
    let (_, error) = shop.refused(&path, "amount=1").await;
    assert_eq!(error["code"], "parameter_unknown");
}

#[tokio::test]
async fn a_pending_refund_succeeds_fails_or_is_canceled() {
    let shop = Shop::open().await;
    shop.sandbox.set_bank(Bank { refunds: RefundMode::Pending, ..Bank::default() });
    let (intent, charge) = shop.charged("pm_card_visa").await;
    let refund = async |amount: &str| {
        let refund = shop.make("/v1/refunds", &format!("payment_intent={intent}&amount={amount}")).await;
        assert_eq!(refund["status"], "pending");
        id_of(&refund)
    };
    let (good, bad, dropped) = (refund("100").await, refund("30").await, refund("7").await);
    assert_eq!(refunded(&shop, &charge).await, 137);
    let before = shop.kinds().await.len();

    let body = shop.sandbox.decide_refund(&good, Decision::Succeed).await.unwrap();
    assert_eq!(body["status"], "succeeded");
    assert_eq!(refunded(&shop, &charge).await, 137);
    let body = shop.sandbox.decide_refund(&bad, Decision::Fail).await.unwrap();
    assert_eq!((&body["status"], &body["failure_reason"]), (&json!("failed"), &json!("unknown")));
    assert_eq!(refunded(&shop, &charge).await, 107);
    let body = shop.make(&format!("/v1/refunds/{dropped}/cancel"), "").await;
    assert_eq!(body["status"], "canceled");
    assert_eq!(refunded(&shop, &charge).await, 100);
    assert_eq!(
        shop.kinds().await[before..],
        [
            "refund.updated",
            "charge.refund.updated",
            "refund.failed",
            "refund.updated",
            "charge.refund.updated",
            "refund.updated",
            "charge.refund.updated"
        ]
    );

    for ended in [&bad, &dropped] {
        for decision in [Decision::Succeed, Decision::Fail] {
            assert!(shop.sandbox.decide_refund(ended, decision).await.is_err());
        }
        shop.refused(&format!("/v1/refunds/{ended}/cancel"), "").await;
    }
    shop.refused(&format!("/v1/refunds/{good}/cancel"), "").await;
    // What failed can be refunded again, and no more than that.
    let (_, error) = shop.refused("/v1/refunds", &format!("payment_intent={intent}&amount=1151")).await;
    assert_eq!(error["code"], "amount_too_large");
    refund("1150").await;
}

#[tokio::test]
async fn a_refund_that_succeeded_can_still_fail() {
    let shop = Shop::open().await;
    let (intent, charge) = shop.charged("pm_card_visa").await;
    let refund = id_of(&shop.make("/v1/refunds", &format!("payment_intent={intent}")).await);
    let (_, body) = shop.get(&format!("/v1/charges/{charge}")).await;
    assert_eq!(body["refunded"], true);
    let (status, body) = shop.control(&format!("/sandbox/refunds/{refund}/fail"), json!({})).await;
    assert_eq!((status.as_u16(), &body["status"]), (200, &json!("failed")));
    let (_, body) = shop.get(&format!("/v1/charges/{charge}")).await;
    assert_eq!((&body["refunded"], &body["amount_refunded"]), (&json!(false), &json!(0)));
    let (_, balance) = shop.get("/v1/balance").await;
    assert_eq!(
        balance["available"][0],
        json!({ "amount": 1250, "currency": "eur", "source_types": { "card": 1250 } })
    );
}

#[tokio::test]
async fn the_clock_decides_as_the_test_methods_say() {
    let shop = Shop::open().await;
    shop.sandbox.set_bank(Bank { settle_after_seconds: Some(60), ..Bank::default() });
    let pay = async |method: &str| {
        let intent = id_of(&shop.intent().await);
        shop.confirm(&intent, method).await;
        intent
    };
    let arrives = pay("pm_usBankAccount_success").await;
    let bounces = pay("pm_usBankAccount_insufficientFunds").await;
    let mut refunds = Vec::new();
    for method in ["pm_card_visa", "pm_card_pendingRefund", "pm_card_refundFail"] {
        let (intent, _) = shop.charged(method).await;
        refunds.push(id_of(&shop.make("/v1/refunds", &format!("payment_intent={intent}")).await));
    }
    let statuses = async || {
        let mut statuses = Vec::new();
        for intent in [&arrives, &bounces] {
            statuses.push(shop.get(&format!("/v1/payment_intents/{intent}")).await.1["status"].clone());
        }
        for refund in &refunds {
            statuses.push(shop.get(&format!("/v1/refunds/{refund}")).await.1["status"].clone());
        }
        statuses
    };
    let before = ["processing", "processing", "succeeded", "pending", "succeeded"];
    shop.clock.advance(Duration::from_secs(59));
    shop.sandbox.tick().await;
    assert_eq!(statuses().await, before);
    shop.clock.advance(Duration::from_secs(1));
    shop.sandbox.tick().await;
    assert_eq!(
        statuses().await,
        ["succeeded", "requires_payment_method", "succeeded", "succeeded", "failed"]
    );
}
