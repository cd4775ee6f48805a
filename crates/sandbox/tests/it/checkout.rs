//! Sessions, payments and refunds.

use std::time::Duration;

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
    let (_, events) = shop.get("/v1/events").await;
    assert_eq!(events["data"][0]["type"], "payment_intent.payment_failed");
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
}

#[tokio::test]
async fn events_are_listed_in_pages_from_either_side() {
    let shop = Shop::open().await;
    for _ in 0..2 {
        shop.paid().await;
    }
    let (_, all) = shop.get("/v1/events?limit=100").await;
    let all = ids(&all);
    assert_eq!(all.len(), 6);
    let (_, page) = shop.get(&format!("/v1/events?limit=2&ending_before={}", all[5])).await;
    assert_eq!((ids(&page).as_slice(), &page["has_more"]), (&all[3..5], &json!(true)));
    let (_, page) = shop.get(&format!("/v1/events?limit=3&ending_before={}", all[3])).await;
    assert_eq!((ids(&page).as_slice(), &page["has_more"]), (&all[0..3], &json!(false)));
    let (_, page) = shop.get(&format!("/v1/events?limit=2&starting_after={}", all[1])).await;
    assert_eq!((ids(&page).as_slice(), &page["has_more"]), (&all[2..4], &json!(true)));
    let (_, page) = shop.get("/v1/events?type=charge.succeeded&limit=1").await;
    assert_eq!((ids(&page).as_slice(), &page["has_more"]), (&all[2..3], &json!(true)));
    let (_, event) = shop.get(&format!("/v1/events/{}", all[0])).await;
    assert_eq!(id_of(&event), all[0]);
    let (status, _) = shop.get("/v1/events?limit=0").await;
    assert_eq!(status, 400);
}
