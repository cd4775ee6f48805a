//! Money that comes in other ways and goes back, and records that disagree: over REST and at the operator's terminal.

use std::process::Output;

use quire_testkit::Backend;
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::customer::{Customer, text};
use crate::system::{OPERATOR, System};
use crate::wait::eventually;

quire_testkit::on_both_databases!(
    an_intent_is_paid_on_the_customers_own_page,
    an_idempotency_key_answers_once_and_tells_what_is_wrong_about_it,
    a_customer_asks_for_money_back_and_an_operator_decides,
    reconcile_mends_lost_webhooks_and_then_prints_nothing,
);

async fn post_with_key(customer: &Customer, path: &str, body: &Value, key: &str) -> Answer {
    let request = customer.request(Method::POST, path).json(body).header("idempotency-key", key);
    Answer::to(request).await
}

/// As a browser would, with the publishable key and the intent's own secret.
async fn confirm(system: &System, customer: &Customer, secret: &str) {
    let intent = secret.split("_secret_").next().unwrap();
    let url = format!("{}/v1/payment_intents/{intent}/confirm", system.embedded.urls.sandbox);
    let form = [("client_secret", secret), ("payment_method", "pm_card_visa")];
    let request =
        customer.client.anywhere(Method::POST, &url).bearer_auth("pk_test_quire_sandbox").form(&form);
    Answer::to(request).await.with_status(200);
}

async fn an_intent_is_paid_on_the_customers_own_page(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let document = ada.short_document().await;
    let body = json!({ "document_id": document });
    let order = ada.post("/payment/create-intent", &body).await.with_status(201).json();
    assert_eq!((&order["method"], &order["status"]), (&json!("intent"), &json!("open")));
    assert_eq!(order["total"], json!({ "amount_minor": 200, "currency": "EUR" }));
    let again = ada.post("/payment/create-intent", &body).await.with_status(201).json();
    assert_eq!(again["client_secret"], order["client_secret"]);
    // Whoever reads the order later is not shown the secret.
    assert_eq!(ada.order(&text(&order["id"])).await.get("client_secret"), None);
    confirm(&system, &ada, &text(&order["client_secret"])).await;
    let job = ada.job_of(&text(&order["id"])).await;
    assert_eq!(ada.follow(&job, 0).await.pop().unwrap().kind, "completed");
    let refused = ada.post("/payment/create-intent", &body).await.with_status(409);
    assert_eq!(refused.reason(), "ALREADY_PAID");
    system.stop().await;
}

async fn an_idempotency_key_answers_once_and_tells_what_is_wrong_about_it(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let body = json!({ "document_id": ada.short_document().await });
    let path = "/payment/create-checkout";
    let first = post_with_key(&ada, path, &body, "\"key-1\"").await.with_status(201);
    assert_eq!(first.header("idempotency-replayed"), "");
    // With and without quotation marks it is the same key.
    let second = post_with_key(&ada, path, &body, "key-1").await.with_status(201);
    assert_eq!(second.header("idempotency-replayed"), "true");
    assert_eq!(second.json(), first.json());
    let other = post_with_key(&ada, path, &json!({ "document_id": "another" }), "key-1").await;
    let other = other.with_status(422);
    assert_eq!(other.reason(), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(other.json()["detail"][0]["loc"], json!(["header", "Idempotency-Key"]));
    for broken in ["", "two words", "\"open", &"k".repeat(256)] {
        let refused = post_with_key(&ada, path, &body, broken).await.with_status(422).json();
        assert_eq!(refused["detail"][0]["loc"], json!(["header", "Idempotency-Key"]), "{broken}");
    }
    let spec = json!({ "title": "Once", "target_pages": 4 });
    let document = post_with_key(&ada, "/documents", &spec, "key-1").await.with_status(201).json();
    let again = post_with_key(&ada, "/documents", &spec, "key-1").await.with_status(201);
    assert_eq!((again.header("idempotency-replayed"), again.json()), ("true", document));
    let bob = system.sign_in("bob@example.org").await;
    let theirs = json!({ "document_id": bob.short_document().await });
    let independent = post_with_key(&bob, path, &theirs, "key-1").await.with_status(201);
    assert_ne!(independent.json()["id"], first.json()["id"]);
    system.stop().await;
}

async fn a_customer_asks_for_money_back_and_an_operator_decides(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let operator = system.sign_in(OPERATOR).await;
    let document = ada.short_document().await;
    let order = ada.checkout(&document).await;
    ada.pay(&order).await;
    let id = text(&order["id"]);
    let job = ada.job_of(&id).await;
    ada.follow(&job, 0).await;
    let delivered = || async { (ada.order(&id).await["status"] == "delivered").then_some(()) };
    eventually("the order is delivered", delivered).await;

    let wrong = ada.post("/refunds", &json!({ "amount_minor": 0, "reason": "" })).await.with_status(422);
    let places: Vec<Value> =
        wrong.json()["detail"].as_array().unwrap().iter().map(|broken| broken["loc"][1].clone()).collect();
    assert_eq!(places, [json!("order_id")], "{places:?}");
    let wish = json!({ "order_id": id, "reason": "The margins are too wide.", "amount_minor": 50 });
    let refund = post_with_key(&ada, "/refunds", &wish, "wish-1").await.with_status(201).json();
    assert_eq!(refund["status"], "requested");
    assert_eq!(post_with_key(&ada, "/refunds", &wish, "wish-1").await.json(), refund);
    let bob = system.sign_in("bob@example.org").await;
    assert_eq!(bob.post("/refunds", &wish).await.with_status(404).reason(), "ORDER_NOT_FOUND");

    let path = format!("/admin/refunds/{}/approve", text(&refund["id"]));
    ada.post(&path, &json!({})).await.with_status(403);
    operator.post(&path, &json!({ "note": "They are." })).await.with_status(200);
    let succeeded = || async {
        let listed = ada.get("/refunds?status=succeeded").await.with_status(200).json();
        listed["refunds"].as_array().unwrap().first().cloned()
    };
    let refund = eventually("the refund has succeeded", succeeded).await;
    assert_eq!((&refund["note"], &refund["amount"]["amount_minor"]), (&json!("They are."), &json!(50)));
    assert_eq!(ada.order(&id).await["refunded"]["amount_minor"], 50);
    let rejected = json!({ "order_id": id, "reason": "I changed my mind." });
    let rejected = ada.post("/refunds", &rejected).await.with_status(201).json();
    let path = format!("/admin/refunds/{}/reject", text(&rejected["id"]));
    assert_eq!(operator.post(&path, &json!({})).await.with_status(200).json()["status"], "rejected");
    let other_way = operator.post(&path.replace("reject", "approve"), &json!({})).await.with_status(409);
    assert_eq!(other_way.reason(), "REFUND_DECIDED");
    let too_much = json!({ "order_id": id, "reason": "All of it.", "amount_minor": 151 });
    assert_eq!(ada.post("/refunds", &too_much).await.with_status(409).reason(), "REFUND_TOO_LARGE");
    assert_eq!(ada.get("/refunds?status=lost").await.with_status(422).json()["detail"][0]["type"], "enum");
    assert_eq!(operator.get("/admin/payments/mismatches").await.json(), json!({ "findings": [] }));
    assert_eq!(operator.get("/admin/dead-letters").await.json(), json!({ "dead_letters": [] }));
    ada.get("/admin/dead-letters").await.with_status(403);
    let verified = quire(&system, &["audit", "verify"]).await;
    assert!(verified.status.success(), "{verified:?}");
    system.stop().await;
}

async fn reconcile_mends_lost_webhooks_and_then_prints_nothing(backend: Backend) {
    let settings = [("QUIRE_RECONCILE_GRACE_SECONDS", "0"), ("QUIRE_RECONCILE_SECONDS", "3600")];
    let system = System::start(backend, &settings).await;
    let ada = system.sign_in("ada@example.org").await;
    let url = format!("{}/sandbox/webhook", system.embedded.urls.sandbox);
    let off = ada.client.anywhere(Method::POST, &url).bearer_auth("sk_test_quire_sandbox");
    Answer::to(off.json(&json!({ "enabled": false }))).await.with_status(200);
    let order = ada.checkout(&ada.short_document().await).await;
    ada.pay(&order).await;
    let id = text(&order["id"]);
    assert_eq!(ada.order(&id).await["status"], "open");

    let looked = printed(quire(&system, &["reconcile", "--dry-run"]).await);
    assert!(looked.iter().any(|line| line.starts_with("open    event_missed")), "{looked:?}");
    assert!(looked.iter().all(|line| line.contains(&id)), "{looked:?}");
    assert_eq!(ada.order(&id).await["status"], "open", "a dry run changes nothing");
    let mended = printed(quire(&system, &["reconcile"]).await);
    assert!(mended.iter().any(|line| line.starts_with("mended  event_missed")), "{mended:?}");
    let job = ada.job_of(&id).await;
    ada.follow(&job, 0).await;
    let delivered = || async { (ada.order(&id).await["status"] == "delivered").then_some(()) };
    eventually("the order is delivered", delivered).await;
    assert_eq!(printed(quire(&system, &["reconcile"]).await), Vec::<String>::new());
    system.stop().await;
}

/// Runs the program beside the system, as its operator would.
async fn quire(system: &System, arguments: &[&str]) -> Output {
    let mut command = system.command();
    command.args(arguments);
    let running = tokio::task::spawn_blocking(move || command.output().unwrap());
    running.await.unwrap()
}

#[track_caller]
fn printed(output: Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
