//! What a provider still knows after it was stopped.

use std::os::unix::fs::PermissionsExt;

use quire_clock::World;
use quire_sandbox::{Sandbox, SandboxConfig, SandboxError};
use reqwest::StatusCode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::receiver::Receiver;
use crate::shop::{ORDER, Shop, answer, config};

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
    shop.press(&session, "decline").await;
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
