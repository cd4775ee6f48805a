//! Checkout sessions and their page.

use std::time::Duration;

use quire_sandbox::Decision;
use serde_json::json;

use crate::receiver::Receiver;
use crate::shop::{KEY, ORDER, START, Shop, answer, config, id_of, ids};

#[tokio::test]
async fn a_session_has_what_was_asked_for() {
    let shop = Shop::open().await;
    let session = shop.make("/v1/checkout/sessions", ORDER).await;
    let id = id_of(&session);
    assert!(id.starts_with("cs_test_"));
    assert_eq!(session["object"], "checkout.session");
    assert_eq!(session["amount_total"], 125);
    assert_eq!(session["currency"], "usd");
    assert_eq!(session["metadata"], json!({ "order_id": "o-1" }));
    assert_eq!(session["client_reference_id"], "o-1");
    assert_eq!(session["status"], "open");
    assert_eq!(session["payment_status"], "unpaid");
    assert_eq!(session["expires_at"], START + 24 * 60 * 60);
    assert_eq!(session["url"], format!("{}/pay/{id}", shop.sandbox.url()));
    assert_eq!(shop.get(&format!("/v1/checkout/sessions/{id}")).await, (200.try_into().unwrap(), session));
}

#[tokio::test]
async fn wrong_parameters_are_refused_by_name() {
    let shop = Shop::open().await;
    let long = "x".repeat(501);
    for (from, to, param, code) in [
        ("mode=payment", "", "mode", "parameter_missing"),
        ("mode=payment", "mode=subscription", "mode", "parameter_invalid"),
        (
            "[unit_amount]=25",
            "[unit_amount]=2.5",
            "line_items[1][price_data][unit_amount]",
            "parameter_invalid_integer",
        ),
        (
            "[unit_amount]=25",
            "[unit_amount]=-5",
            "line_items[1][price_data][unit_amount]",
            "parameter_invalid",
        ),
        ("[unit_amount]=25", "[unit_amount]=99999999", "line_items", "amount_too_large"),
        (
            "line_items[1][price_data][currency]=usd",
            "line_items[1][price_data][currency]=eur",
            "line_items[1][price_data][currency]",
            "parameter_invalid",
        ),
        ("&line_items[1][quantity]=1", "", "line_items[1][quantity]", "parameter_missing"),
        ("success_url=https", "success_url=javascript", "success_url", "url_invalid"),
        ("=o-1&payment", &format!("={long}&payment"), "metadata", "parameter_invalid_string"),
        ("mode=payment", "mode=payment&surprise=1", "surprise", "parameter_unknown"),
        ("mode=payment", "mode=payment&expires_at=1800000060", "expires_at", "parameter_invalid"),
    ] {
        let form = ORDER.replacen(from, to, 1);
        assert_ne!(form, ORDER);
        let (status, error) = shop.refused("/v1/checkout/sessions", &form).await;
        assert_eq!(
            (status.as_u16(), &error["param"], &error["code"]),
            (400, &json!(param), &json!(code)),
            "{error}"
        );
        assert_eq!(error["type"], "invalid_request_error");
    }
    let (_, sessions) = shop.get("/v1/checkout/sessions").await;
    assert_eq!(sessions["data"], json!([]));
}

#[tokio::test]
async fn a_key_is_needed_as_bearer_or_basic() {
    let shop = Shop::open().await;
    let url = format!("{}/v1/balance", shop.sandbox.url());
    let get = || shop.http.get(&url);
    assert_eq!(get().basic_auth(KEY, Some("")).send().await.unwrap().status(), 200);
    assert_eq!(get().bearer_auth(KEY).send().await.unwrap().status(), 200);
    for refused in [get(), get().bearer_auth("sk_test_sho"), get().basic_auth("", Some(KEY))] {
        let response = refused.send().await.unwrap();
        assert!(response.headers()["request-id"].to_str().unwrap().starts_with("req_"));
        let (status, body) = answer(response).await;
        assert_eq!((status.as_u16(), &body["error"]["type"]), (401, &json!("invalid_request_error")));
    }
    for path in ["/sandbox/deliveries", "/sandbox/behaviour"] {
        let response = shop.http.get(format!("{}{path}", shop.sandbox.url())).send().await.unwrap();
        assert_eq!(response.status(), 401);
    }
}

#[tokio::test]
async fn the_page_shows_the_order_and_runs_nothing() {
    let shop = Shop::open().await;
    let session = shop.session().await;
    let response = shop.http.get(format!("{}/pay/{session}", shop.sandbox.url())).send().await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(policy.contains("form-action 'self' https://shop.example;"), "{policy}");
    let page = response.text().await.unwrap();
    assert!(page.contains("2 × Pages") && page.contains("1.25 USD"), "{page}");
    assert!(page.contains("Cover &lt;b&gt;") && !page.contains("Cover <b>"), "{page}");
    let missing = shop.http.get(format!("{}/pay/cs_test_none", shop.sandbox.url())).send().await.unwrap();
    assert_eq!(missing.status(), 404);
}

#[tokio::test]
async fn paying_twice_charges_once_and_leads_back_both_times() {
    let shop = Shop::open().await;
    let (session, intent) = shop.paid().await;
    let again = shop.press(&session, "pay").await;
    assert_eq!(again.status(), 303);
    assert_eq!(again.headers()["location"], format!("https://shop.example/done?s={session}"));
    assert_eq!(shop.press(&session, "decline").await.status(), 200);

    let (_, body) = shop.get(&format!("/v1/checkout/sessions/{session}")).await;
    assert_eq!((&body["status"], &body["payment_status"]), (&json!("complete"), &json!("paid")));
    let (_, body) = shop.get(&format!("/v1/payment_intents/{intent}")).await;
    assert_eq!((&body["status"], &body["amount_received"]), (&json!("succeeded"), &json!(125)));
    assert_eq!(body["metadata"], json!({ "order_id": "o-1" }));
    let (_, events) = shop.get("/v1/events?limit=100").await;
    let kinds: Vec<_> = events["data"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["checkout.session.completed", "payment_intent.succeeded", "charge.succeeded"]);
    let (_, found) = shop.get(&format!("/v1/checkout/sessions?payment_intent={intent}")).await;
    assert_eq!(ids(&found), [session]);
    let (_, balance) = shop.get("/v1/balance").await;
    assert_eq!(balance["available"][0]["amount"], 125);
}

#[tokio::test]
async fn a_declined_card_leaves_the_session_open() {
    let shop = Shop::open().await;
    let session = shop.session().await;
    let declined = shop.press(&session, "decline").await;
    assert_eq!(declined.status(), 402);
    assert!(declined.text().await.unwrap().contains("The card was declined."));
    let (_, body) = shop.get(&format!("/v1/checkout/sessions/{session}")).await;
    assert_eq!((&body["status"], &body["payment_status"]), (&json!("open"), &json!("unpaid")));
    assert_eq!(shop.kinds().await, ["charge.failed", "payment_intent.payment_failed"]);
    let (_, events) = shop.get("/v1/events").await;
    assert_eq!(events["data"][0]["data"]["object"]["last_payment_error"]["code"], "card_declined");

    assert_eq!(shop.press(&session, "pay").await.status(), 303);
    let intent = &events["data"][0]["data"]["object"]["id"];
    let (_, body) = shop.get(&format!("/v1/checkout/sessions/{session}")).await;
    assert_eq!(&body["payment_intent"], intent);
}

#[tokio::test]
async fn a_session_expires_by_the_clock_and_can_no_longer_be_paid() {
    let mut receiver = Receiver::start().await;
    let mut config = config();
    config.webhook_url = Some(receiver.url.clone());
    let shop = Shop::open_with(config).await;
    let session = shop.session().await;
    shop.clock.advance(Duration::from_secs(24 * 60 * 60 - 1));
    shop.sandbox.tick().await;
    let (_, body) = shop.get(&format!("/v1/checkout/sessions/{session}")).await;
    assert_eq!(body["status"], "open");
    shop.clock.advance(Duration::from_secs(1));
    shop.sandbox.tick().await;
    let delivery = receiver.next().await;
    assert_eq!(delivery.kind(), "checkout.session.expired");
    assert_eq!(delivery.event()["data"]["object"]["id"], session.as_str());
    assert_eq!(shop.press(&session, "pay").await.status(), 410);
    let (_, error) = shop.refused(&format!("/v1/checkout/sessions/{session}/expire"), "").await;
    assert_eq!(error["code"], "checkout_session_not_open");
    shop.sandbox.drained().await;
    assert!(receiver.is_empty());
}

#[tokio::test]
async fn the_merchant_can_expire_a_session() {
    let shop = Shop::open().await;
    let session = shop.session().await;
    let body = shop.make(&format!("/v1/checkout/sessions/{session}/expire"), "").await;
    assert_eq!((&body["status"], &body["url"]), (&json!("expired"), &json!(null)));
    let (_, events) = shop.get("/v1/events?type=checkout.session.expired").await;
    assert_eq!(events["data"][0]["data"]["object"], body);
    assert!(events["data"][0]["request"]["id"].as_str().unwrap().starts_with("req_"));
}

#[tokio::test]
async fn a_bank_debit_completes_the_session_before_the_money_comes() {
    for (decision, status, last, money) in [
        (Decision::Succeed, "paid", "checkout.session.async_payment_succeeded", 125),
        (Decision::Fail, "unpaid", "checkout.session.async_payment_failed", 0),
    ] {
        let shop = Shop::open().await;
        let session = shop.session().await;
        assert_eq!(shop.press(&session, "debit").await.status(), 303);
        let path = format!("/v1/checkout/sessions/{session}?expand[]=payment_intent.latest_charge");
        let (_, body) = shop.get(&path).await;
        assert_eq!((&body["status"], &body["payment_status"]), (&json!("complete"), &json!("unpaid")));
        assert_eq!(body["payment_intent"]["status"], "processing");
        assert_eq!(body["payment_intent"]["latest_charge"]["status"], "pending");
        let intent = id_of(&body["payment_intent"]);
        let (_, balance) = shop.get("/v1/balance").await;
        let sums = (&balance["available"][0]["amount"], &balance["pending"][0]["amount"]);
        assert_eq!(sums, (&json!(0), &json!(125)));

        shop.sandbox.decide_payment(&intent, decision).await.unwrap();
        let (_, body) = shop.get(&path).await;
        assert_eq!((&body["status"], &body["payment_status"]), (&json!("complete"), &json!(status)));
        let kinds = shop.kinds().await;
        assert_eq!(kinds[..3], ["charge.pending", "payment_intent.processing", "checkout.session.completed"]);
        assert_eq!(kinds.last().unwrap(), last);
        let (_, completed) = shop.get("/v1/events?type=checkout.session.completed").await;
        assert_eq!(completed["data"][0]["data"]["object"]["payment_status"], "unpaid");
        let (_, balance) = shop.get("/v1/balance").await;
        assert_eq!(balance["available"][0]["amount"], money);
        // Decided once and for all.
        let again = shop.sandbox.decide_payment(&intent, Decision::Succeed).await.unwrap_err();
        assert_eq!(again.code, "unexpected_state");
        assert_eq!(shop.press(&session, "debit").await.status(), 303);
        assert_eq!(shop.kinds().await.len(), 6);
    }
}

#[tokio::test]
async fn a_session_for_cards_takes_no_bank_debit() {
    let shop = Shop::open().await;
    let cards = format!("{ORDER}&payment_method_types[]=card");
    let session = shop.make("/v1/checkout/sessions", &cards).await;
    assert_eq!(session["payment_method_types"], json!(["card"]));
    let id = id_of(&session);
    assert_eq!(shop.press(&id, "debit").await.status(), 400);
    assert!(shop.kinds().await.is_empty());
    let other = format!("{ORDER}&payment_method_types[]=sepa_debit");
    let (_, error) = shop.refused("/v1/checkout/sessions", &other).await;
    assert_eq!(error["param"], "payment_method_types");
    let page = shop.http.get(format!("{}/pay/{id}", shop.sandbox.url())).send().await.unwrap();
    assert!(!page.text().await.unwrap().contains("debit"));
}

#[tokio::test]
async fn the_intent_of_a_session_is_left_to_its_page() {
    let shop = Shop::open().await;
    let session = shop.session().await;
    shop.press(&session, "decline").await;
    let (_, body) = shop.get(&format!("/v1/checkout/sessions/{session}")).await;
    let intent = body["payment_intent"].as_str().unwrap().to_owned();
    for action in ["confirm", "cancel"] {
        let (_, error) = shop.refused(&format!("/v1/payment_intents/{intent}/{action}"), "").await;
        assert_eq!(error["code"], "payment_intent_unexpected_state", "{action}");
    }
}
