//! What a provider still knows after it was stopped.

use std::os::unix::fs::PermissionsExt;

use quire_clock::World;
use quire_sandbox::{Bank, Decision, RefundMode, Sandbox, SandboxConfig, SandboxError, Verdict};
use reqwest::StatusCode;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::receiver::Receiver;
use crate::shop::{ORDER, Shop, answer, config, id_of};

#[tokio::test]
async fn undelivered_events_are_sent_after_a_restart_and_delivered_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.json");
    let mut receiver = Receiver::start().await;
    let with_file = || SandboxConfig {
        webhook_url: Some(receiver.url.clone()),
        state_path: Some(path.clone()),
        ..config()
    };
    let mut before = with_file();
    // Long enough that no retry comes before the stop.
    before.retry.first_wait = std::time::Duration::from_secs(3600);
    let after = with_file();

    let shop = Shop::open_with(before).await;
    shop.paid().await;
    let delivered = receiver.take(3).await;
    shop.sandbox.drained().await;
    receiver.answer_with(&[StatusCode::SERVICE_UNAVAILABLE]);
    let session = shop.session().await;
    shop.expired().await;
    let refused = receiver.next().await;
    let first = answer(
        shop.post("/v1/checkout/sessions", ORDER).header("idempotency-key", "k").send().await.unwrap(),
    )
    .await;
    let (_, events) = shop.get("/v1/events").await;
    shop.close().await;

    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let shop = Shop::open_with(after).await;
    let again = receiver.next().await;
    assert_eq!(again.body, refused.body);
    assert!(delivered.iter().all(|delivery| delivery.body != again.body));
    shop.sandbox.drained().await;
    assert!(receiver.is_empty());

    let (_, known) = shop.get("/v1/events").await;
    assert_eq!(crate::shop::ids(&known), crate::shop::ids(&events));
    let repeated =
        shop.post("/v1/checkout/sessions", ORDER).header("idempotency-key", "k").send().await.unwrap();
    assert_eq!(repeated.headers()["idempotent-replayed"], "true");
    let (status, body) = answer(repeated).await;
    assert_eq!((status, &body["id"]), (first.0, &first.1["id"]));
    assert_eq!(shop.press(&session, "pay").await.status(), 303);
}

#[tokio::test]
async fn a_file_of_an_earlier_version_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.json");
    std::fs::write(&path, include_str!("../data/state-0.1.json")).unwrap();
    let mut receiver = Receiver::start().await;
    let url = receiver.url.clone();
    let with_file =
        || SandboxConfig { webhook_url: Some(url.clone()), state_path: Some(path.clone()), ..config() };
    let shop = Shop::open_with(with_file()).await;
    assert_eq!(receiver.next().await.event()["id"], "evt_refund");
    shop.sandbox.drained().await;
    let (_, paid) = shop.get("/v1/payment_intents/pi_paid?expand[]=latest_charge").await;
    assert_eq!((&paid["status"], &paid["amount_received"]), (&json!("succeeded"), &json!(100)));
    assert_eq!(paid["last_payment_error"], json!(null));
    let charge = &paid["latest_charge"];
    assert_eq!((&charge["status"], &charge["paid"]), (&json!("succeeded"), &json!(true)));
    let (_, session) = shop.get("/v1/checkout/sessions/cs_test_paid").await;
    assert_eq!(session["payment_status"], "paid");
    let (_, refund) = shop.get("/v1/refunds/re_part").await;
    assert_eq!(refund["status"], "succeeded");
    let (_, declined) = shop.get("/v1/payment_intents/pi_declined").await;
    assert_eq!(declined["status"], "requires_payment_method");
    assert_eq!(declined["last_payment_error"]["code"], "card_declined");
    // What began in the earlier version goes on.
    assert_eq!(shop.make("/v1/refunds", "payment_intent=pi_paid").await["amount"], 70);
    assert_eq!(shop.press("cs_test_open", "pay").await.status(), 303);
    shop.sandbox.drained().await;
    let before = shop.get("/v1/payment_intents").await;
    shop.close().await;
    let shop = Shop::open_with(with_file()).await;
    assert_eq!(shop.get("/v1/payment_intents").await, before);
}

#[tokio::test]
async fn what_is_under_way_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let with_file = || SandboxConfig { state_path: Some(folder.path().join("sandbox.json")), ..config() };
    let shop = Shop::open_with(with_file()).await;
    shop.sandbox.set_bank(Bank { refunds: RefundMode::Pending, ..Bank::default() });
    let intent = id_of(&shop.intent().await);
    shop.confirm(&intent, "pm_usBankAccount_success").await;
    let (paid, _) = shop.charged("pm_card_createDispute").await;
    let (refunded, _) = shop.charged("pm_card_visa").await;
    let refund = id_of(&shop.make("/v1/refunds", &format!("payment_intent={refunded}")).await);
    let (_, disputes) = shop.get("/v1/disputes").await;
    shop.close().await;

    let shop = Shop::open_with(with_file()).await;
    assert_eq!(shop.get("/v1/disputes").await.1, disputes);
    let dispute = &crate::shop::ids(&disputes)[0];
    assert_eq!(disputes["data"][0]["payment_intent"], json!(paid));
    assert_eq!(shop.sandbox.close_dispute(dispute, Verdict::Won).await.unwrap()["status"], "won");
    let arrived = shop.sandbox.decide_payment(&intent, Decision::Succeed).await.unwrap();
    assert_eq!(
        (&arrived["status"], &arrived["payment_method"]),
        (&json!("succeeded"), &json!("pm_usBankAccount_success"))
    );
    assert_eq!(shop.sandbox.decide_refund(&refund, Decision::Fail).await.unwrap()["status"], "failed");
}

#[tokio::test]
async fn concurrent_changes_are_all_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let with_file = || SandboxConfig { state_path: Some(folder.path().join("sandbox.json")), ..config() };
    let shop = Shop::open_with(with_file()).await;
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let post = shop.post("/v1/checkout/sessions", ORDER);
        posts.spawn(async move { post.send().await.unwrap().status() });
    }
    assert!(posts.join_all().await.iter().all(|status| *status == 200));
    shop.close().await;
    let shop = Shop::open_with(with_file()).await;
    let (_, sessions) = shop.get("/v1/checkout/sessions?limit=100").await;
    assert_eq!(crate::shop::ids(&sessions).len(), 50);
}

#[tokio::test]
async fn a_change_that_cannot_be_written_is_not_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gone").join("sandbox.json");
    let shop = Shop::open_with(SandboxConfig { state_path: Some(path), ..config() }).await;
    let (status, body) = answer(shop.post("/v1/checkout/sessions", ORDER).send().await.unwrap()).await;
    assert_eq!((status.as_u16(), body["error"]["type"].as_str()), (500, Some("api_error")));
}

#[tokio::test]
async fn a_start_without_secrets_or_with_a_broken_file_is_refused() {
    let start = async |config| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Sandbox::start(listener, config, World::system(), CancellationToken::new()).await.err().unwrap()
    };
    let without_key = start(SandboxConfig { api_keys: vec![], ..config() }).await;
    assert!(matches!(without_key, SandboxError::ApiKey));
    let without_secret = start(SandboxConfig { webhook_secrets: vec![String::new()], ..config() }).await;
    assert!(matches!(without_secret, SandboxError::WebhookSecret));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.json");
    std::fs::write(&path, "{\"sessions\":").unwrap();
    let broken = start(SandboxConfig { state_path: Some(path), ..config() }).await;
    assert!(matches!(broken, SandboxError::State(_)));
}
