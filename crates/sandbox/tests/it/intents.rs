//! Payment intents: made by the merchant, paid by the merchant or from a page.

use quire_sandbox::{DEFAULT_PUBLISHABLE_KEY, Decision, SandboxConfig};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::shop::{INTENT, START, Shop, answer, config, id_of, ids};

#[tokio::test]
async fn an_intent_has_what_was_asked_for() {
    let shop = Shop::open().await;
    let intent = shop.intent().await;
    let id = id_of(&intent);
    assert!(id.starts_with("pi_"));
    assert!(intent["client_secret"].as_str().unwrap().starts_with(&format!("{id}_secret_")));
    for (name, value) in [
        ("object", json!("payment_intent")),
        ("amount", json!(1250)),
        ("amount_received", json!(0)),
        ("currency", json!("eur")),
        ("status", json!("requires_payment_method")),
        ("metadata", json!({ "order_id": "o-1" })),
        ("description", json!("12 pages")),
        ("payment_method_types", json!(["card", "sepa_debit"])),
        ("payment_method", json!(null)),
        ("latest_charge", json!(null)),
        ("created", json!(START)),
    ] {
        assert_eq!(intent[name], value, "{name}");
    }
    assert_eq!(shop.get(&format!("/v1/payment_intents/{id}")).await, (StatusCode::OK, intent.clone()));
    let (_, events) = shop.get("/v1/events").await;
    assert_eq!(events["data"][0]["type"], "payment_intent.created");
    assert_eq!(events["data"][0]["data"]["object"], intent);
    let other = id_of(&shop.intent().await);
    assert_eq!(ids(&shop.get("/v1/payment_intents").await.1), [other, id]);
}

#[tokio::test]
async fn wrong_parameters_are_refused_by_name() {
    let shop = Shop::open().await;
    for (form, param, code) in [
        ("currency=eur", "amount", "parameter_missing"),
        ("amount=100", "currency", "parameter_missing"),
        ("amount=0&currency=eur", "amount", "amount_too_small"),
        ("amount=100000000&currency=eur", "amount", "amount_too_large"),
        ("amount=1.5&currency=eur", "amount", "parameter_invalid_integer"),
        ("amount=1255&currency=kwd", "amount", "parameter_invalid_integer"),
        ("amount=100&currency=euro", "currency", "parameter_invalid"),
        ("amount=100&currency=eur&payment_method=pm_none", "payment_method", "resource_missing"),
        ("amount=100&currency=eur&payment_method_types[]=ideal", "payment_method_types", "parameter_invalid"),
        ("amount=100&currency=eur&capture_method=manual", "capture_method", "parameter_invalid"),
        ("amount=100&currency=eur&confirm=true", "payment_method", "parameter_missing"),
        ("amount=100&currency=eur&expand[]=customer", "expand", "parameter_invalid"),
        ("amount=100&currency=eur&customer=cus_1", "customer", "parameter_unknown"),
        (
            "amount=100&currency=eur&automatic_payment_methods[enabled]=true&payment_method_types[]=card",
            "automatic_payment_methods",
            "parameters_exclusive",
        ),
    ] {
        let (_, error) = shop.refused("/v1/payment_intents", form).await;
        assert_eq!((&error["param"], &error["code"]), (&json!(param), &json!(code)), "{form}: {error}");
    }
    assert!(shop.kinds().await.is_empty());
    for form in ["amount=500&currency=JPY", "amount=1250&currency=kwd", "amount=1&currency=usd"] {
        shop.make("/v1/payment_intents", form).await;
    }
}

#[tokio::test]
async fn a_good_card_pays() {
    let shop = Shop::open().await;
    let (intent, charge) = shop.charged("pm_card_visa").await;
    let path = format!("/v1/payment_intents/{intent}?expand[]=latest_charge");
    let (_, body) = shop.get(&path).await;
    assert_eq!((&body["amount_received"], &body["payment_method"]), (&json!(1250), &json!("pm_card_visa")));
    assert_eq!(body["latest_charge"], shop.get(&format!("/v1/charges/{charge}")).await.1);
    assert_eq!(body["latest_charge"]["metadata"], json!({ "order_id": "o-1" }));
    assert_eq!(
        shop.kinds().await,
        ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
    );
    let confirm = format!("/v1/payment_intents/{intent}/confirm");
    let (_, error) = shop.refused(&confirm, "payment_method=pm_card_visa").await;
    assert_eq!(error["code"], "payment_intent_unexpected_state");
    assert_eq!(error["payment_intent"]["status"], "succeeded");
    assert_eq!(ids(&shop.get(&format!("/v1/charges?payment_intent={intent}")).await.1), [charge]);
}

#[tokio::test]
async fn an_intent_can_be_confirmed_as_it_is_made_or_with_its_own_method() {
    let shop = Shop::open().await;
    let form = format!("{INTENT}&payment_method=pm_card_visa");
    let paid = shop.make("/v1/payment_intents", &format!("{form}&confirm=true&expand[]=latest_charge")).await;
    assert_eq!((&paid["status"], &paid["latest_charge"]["paid"]), (&json!("succeeded"), &json!(true)));
    let waiting = shop.make("/v1/payment_intents", &form).await;
    assert_eq!(waiting["status"], "requires_confirmation");
    let paid = shop.make(&format!("/v1/payment_intents/{}/confirm", id_of(&waiting)), "").await;
    assert_eq!(paid["status"], "succeeded");
    let without = id_of(&shop.intent().await);
    let (_, error) = shop.refused(&format!("/v1/payment_intents/{without}/confirm"), "").await;
    assert_eq!(error["code"], "payment_intent_unexpected_state");
}

#[tokio::test]
async fn a_declined_card_is_told_and_another_one_may_follow() {
    let shop = Shop::open().await;
    for (card, decline_code) in [
        ("payment_method=pm_card_visa_chargeDeclined", "generic_decline"),
        (
            "payment_method_data[type]=card&payment_method_data[card][number]=4000000000009995\
             &payment_method_data[card][exp_month]=12&payment_method_data[card][exp_year]=2030",
            "insufficient_funds",
        ),
    ] {
        let intent = id_of(&shop.intent().await);
        let confirm = format!("/v1/payment_intents/{intent}/confirm");
        let (status, error) = shop.refused(&confirm, card).await;
        assert_eq!((status.as_u16(), &error["type"]), (402, &json!("card_error")));
        assert_eq!((&error["code"], &error["decline_code"]), (&json!("card_declined"), &json!(decline_code)));
        let (_, body) = shop.get(&format!("/v1/payment_intents/{intent}?expand[]=latest_charge")).await;
        assert_eq!(
            (&body["status"], &body["payment_method"]),
            (&json!("requires_payment_method"), &json!(null))
        );
        assert_eq!(body["last_payment_error"]["decline_code"], decline_code);
        let charge = &body["latest_charge"];
        assert_eq!((&charge["status"], &charge["failure_code"]), (&json!("failed"), &json!(decline_code)));
        assert_eq!(error["payment_intent"]["last_payment_error"], body["last_payment_error"]);
        let kinds = shop.kinds().await;
        assert_eq!(kinds[kinds.len() - 2..], ["charge.failed", "payment_intent.payment_failed"]);
        let refund = format!("charge={}", id_of(charge));
        assert_eq!(shop.refused("/v1/refunds", &refund).await.1["code"], "charge_not_refundable");
        let paid = shop.confirm(&intent, "pm_card_visa").await;
        assert_eq!((&paid["status"], &paid["last_payment_error"]), (&json!("succeeded"), &json!(null)));
    }
}

#[tokio::test]
async fn a_real_card_number_is_refused_and_not_repeated() {
    let shop = Shop::open().await;
    let intent = id_of(&shop.intent().await);
    let form = "payment_method_data[type]=card&payment_method_data[card][number]=4111111111111111";
    let (_, error) = shop.refused(&format!("/v1/payment_intents/{intent}/confirm"), form).await;
    assert_eq!(error["code"], "incorrect_number");
    assert!(!error.to_string().contains("4111"), "{error}");
}

#[tokio::test]
async fn a_bank_debit_is_processing_until_the_bank_decides() {
    for (decision, status, events) in [
        (Decision::Succeed, "succeeded", ["charge.succeeded", "payment_intent.succeeded"]),
        (Decision::Fail, "requires_payment_method", ["charge.failed", "payment_intent.payment_failed"]),
    ] {
        let shop = Shop::open().await;
        let intent = id_of(&shop.intent().await);
        let form = "payment_method_data[type]=sepa_debit\
                    &payment_method_data[sepa_debit][iban]=AT611904300234573201";
        let body = shop.make(&format!("/v1/payment_intents/{intent}/confirm"), form).await;
        assert_eq!((&body["status"], &body["amount_received"]), (&json!("processing"), &json!(0)));
        let (_, error) = shop.refused(&format!("/v1/payment_intents/{intent}/cancel"), "").await;
        assert_eq!(error["code"], "payment_intent_unexpected_state");
        let charge = body["latest_charge"].as_str().unwrap();
        let body = shop.sandbox.decide_payment(&intent, decision).await.unwrap();
        assert_eq!((&body["status"], &body["latest_charge"]), (&json!(status), &json!(charge)));
        let kinds = shop.kinds().await;
        assert_eq!(kinds[1..3], ["charge.pending", "payment_intent.processing"]);
        assert_eq!(kinds[3..], events);
    }
}

#[tokio::test]
async fn a_method_of_another_type_is_refused() {
    let shop = Shop::open().await;
    let intent =
        shop.make("/v1/payment_intents", "amount=100&currency=eur&payment_method_types[]=card").await;
    let path = format!("/v1/payment_intents/{}/confirm", id_of(&intent));
    let (_, error) = shop.refused(&path, "payment_method=pm_usBankAccount_success").await;
    assert_eq!(error["code"], "payment_intent_incompatible_payment_method");
}

#[tokio::test]
async fn the_buyer_is_asked_and_comes_back() {
    for (action, redirect, status) in
        [("confirm", "succeeded", "succeeded"), ("refuse", "failed", "requires_payment_method")]
    {
        let shop = Shop::open().await;
        let intent = shop.intent().await;
        let (id, secret) = (id_of(&intent), intent["client_secret"].as_str().unwrap());
        let form = "payment_method=pm_card_authenticationRequired&return_url=https://shop.example/back?o=1";
        let body = shop.make(&format!("/v1/payment_intents/{id}/confirm"), form).await;
        assert_eq!(body["status"], "requires_action");
        let page = body["next_action"]["redirect_to_url"]["url"].as_str().unwrap();
        let shown = shop.http.get(page).send().await.unwrap();
        let policy = shown.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("form-action 'self' https://shop.example;"), "{policy}");
        assert!(shown.text().await.unwrap().contains("12.50 EUR"));
        let stranger = page.replace(secret, "pi_x_secret_y");
        let guess = shop.http.post(stranger).body(format!("action={action}")).send().await.unwrap();
        assert_eq!(guess.status(), 404);

        let back = shop.http.post(page).body(format!("action={action}")).send().await.unwrap();
        assert_eq!(back.status(), 303);
        let expected = format!(
            "https://shop.example/back?o=1&payment_intent={id}&payment_intent_client_secret={secret}\
             &redirect_status={redirect}"
        );
        assert_eq!(back.headers()["location"], expected);
        let (_, body) = shop.get(&format!("/v1/payment_intents/{id}")).await;
        assert_eq!((&body["status"], &body["next_action"]), (&json!(status), &json!(null)));
        let again = shop.http.post(page).body(format!("action={action}")).send().await.unwrap();
        assert_eq!(again.status(), 200);
        assert_eq!(
            shop.kinds().await.iter().filter(|kind| *kind == "payment_intent.requires_action").count(),
            1
        );
    }
}

#[tokio::test]
async fn an_intent_is_canceled_once_and_then_cannot_be_paid() {
    let shop = Shop::open().await;
    let id = id_of(&shop.intent().await);
    let cancel = format!("/v1/payment_intents/{id}/cancel");
    let (_, error) = shop.refused(&cancel, "cancellation_reason=mood").await;
    assert_eq!(error["param"], "cancellation_reason");
    let body = shop.make(&cancel, "cancellation_reason=abandoned").await;
    assert_eq!((&body["status"], &body["canceled_at"]), (&json!("canceled"), &json!(START)));
    assert_eq!(body["cancellation_reason"], "abandoned");
    assert_eq!(shop.kinds().await, ["payment_intent.created", "payment_intent.canceled"]);
    let confirm = format!("/v1/payment_intents/{id}/confirm");
    for (path, form) in [(&cancel, ""), (&confirm, "payment_method=pm_card_visa")] {
        let (_, error) = shop.refused(path, form).await;
        assert_eq!(error["code"], "payment_intent_unexpected_state", "{path}");
    }
    let (paid, _) = shop.charged("pm_card_visa").await;
    let (_, error) = shop.refused(&format!("/v1/payment_intents/{paid}/cancel"), "").await;
    assert_eq!(error["payment_intent"]["status"], "succeeded");
}

#[tokio::test]
async fn description_and_metadata_change_and_nothing_else_does() {
    let shop = Shop::open().await;
    let path = format!("/v1/payment_intents/{}", id_of(&shop.intent().await));
    let body = shop.make(&path, "metadata[job]=j-1&description=Thirteen").await;
    assert_eq!(body["metadata"], json!({ "order_id": "o-1", "job": "j-1" }));
    assert_eq!(body["description"], "Thirteen");
    let body = shop.make(&path, "metadata[order_id]=&description=").await;
    assert_eq!((&body["metadata"], &body["description"]), (&json!({ "job": "j-1" }), &json!(null)));
    let many: String = (0..50).map(|place| format!("metadata[k{place}]=v&")).collect();
    assert_eq!(shop.refused(&path, &many).await.1["param"], "metadata");
    assert_eq!(shop.refused(&path, "amount=1").await.1["code"], "parameter_unknown");
    assert_eq!(shop.get(&path).await.1, body);
}

/// A page's requests: with a publishable key in place of the secret one.
fn from_page(request: RequestBuilder, key: &str) -> RequestBuilder {
    let (client, request) = request.build_split();
    let mut request = request.unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    RequestBuilder::from_parts(client, request)
}

#[tokio::test]
async fn a_page_pays_with_the_client_secret() {
    let shop = Shop::open().await;
    let intent = shop.intent().await;
    let (id, secret) = (id_of(&intent), intent["client_secret"].as_str().unwrap());
    let url = format!("{}/v1/payment_intents/{id}?client_secret={secret}", shop.sandbox.url());
    let ask =
        || from_page(shop.http.get(&url), DEFAULT_PUBLISHABLE_KEY).header("origin", "https://shop.example");
    let shown = ask().send().await.unwrap();
    assert_eq!(shown.headers()["access-control-allow-origin"], "*");
    let shown: Value = shown.json().await.unwrap();
    assert_eq!(shown["status"], "requires_payment_method");
    for hidden in ["metadata", "latest_charge", "customer"] {
        assert_eq!(shown.get(hidden), None, "{hidden}");
    }

    let confirm = format!("/v1/payment_intents/{id}/confirm");
    let post = |form: &str| from_page(shop.post(&confirm, form), DEFAULT_PUBLISHABLE_KEY);
    let (status, body) = answer(post("payment_method=pm_card_visa").send().await.unwrap()).await;
    assert_eq!((status.as_u16(), &body["error"]["param"]), (400, &json!("client_secret")));
    let wrong = format!("payment_method=pm_card_visa&client_secret={id}_secret_guess");
    let (status, body) = answer(post(&wrong).send().await.unwrap()).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (404, &json!("resource_missing")));
    let declined = format!("payment_method=pm_card_chargeDeclined&client_secret={secret}");
    let (status, body) = answer(post(&declined).send().await.unwrap()).await;
    assert_eq!(status, 402);
    assert_eq!(body["error"]["payment_intent"].get("metadata"), None);
    let right = format!("payment_method=pm_card_visa&client_secret={secret}");
    let (status, body) = answer(post(&right).header("idempotency-key", "k").send().await.unwrap()).await;
    assert_eq!((status.as_u16(), &body["status"]), (200, &json!("succeeded")));
    assert_eq!(body.get("metadata"), None);
    // The merchant's own request under the same key is another one.
    let merchant = shop.post(&confirm, &right).header("idempotency-key", "k").send().await.unwrap();
    assert_eq!(answer(merchant).await.1["error"]["type"], "idempotency_error");
}

#[tokio::test]
async fn a_publishable_key_opens_nothing_else() {
    let shop =
        Shop::open_with(SandboxConfig { publishable_key: "pk_test_mine".to_owned(), ..config() }).await;
    let id = id_of(&shop.intent().await);
    let url = shop.sandbox.url().to_owned();
    for path in ["/v1/events", "/v1/payment_intents", "/v1/charges", "/sandbox/deliveries"] {
        let request = from_page(shop.http.get(format!("{url}{path}")), "pk_test_mine");
        let (status, body) = answer(request.send().await.unwrap()).await;
        assert_eq!((status.as_u16(), &body["error"]["code"]), (403, &json!("secret_key_required")), "{path}");
    }
    for path in [format!("/v1/payment_intents/{id}/cancel"), "/v1/refunds".to_owned()] {
        let request = from_page(shop.post(&path, ""), "pk_test_mine");
        assert_eq!(request.send().await.unwrap().status(), 403, "{path}");
    }
    let other = from_page(shop.http.get(format!("{url}/v1/payment_intents/{id}")), DEFAULT_PUBLISHABLE_KEY);
    assert_eq!(other.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_browser_may_ask_beforehand() {
    let shop = Shop::open().await;
    let id = id_of(&shop.intent().await);
    let url = format!("{}/v1/payment_intents/{id}/confirm", shop.sandbox.url());
    let asked = shop
        .http
        .request(reqwest::Method::OPTIONS, url)
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,idempotency-key")
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 200);
    let allowed = asked.headers()["access-control-allow-headers"].to_str().unwrap();
    assert!(allowed.contains("authorization") && allowed.contains("idempotency-key"), "{allowed}");
}
