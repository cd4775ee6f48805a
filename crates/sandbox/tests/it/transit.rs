//! A bad line to the webhook, and an endpoint that changes.

use std::collections::HashSet;
use std::time::Duration;

use quire_sandbox::signature::{sign, sign_with_all};
use quire_sandbox::{Behaviour, SandboxConfig, Transit};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::receiver::{Receiver, SECRET};
use crate::shop::{START, Shop, config, id_of};

async fn shop_for(receiver: &Receiver, transit: Transit) -> Shop {
    Shop::open_with(SandboxConfig { webhook_url: Some(receiver.url.clone()), transit, ..config() }).await
}

#[tokio::test]
async fn the_first_deliveries_are_lost_and_the_next_one_comes() {
    let mut receiver = Receiver::start().await;
    let shop = shop_for(&receiver, Transit { lose_first: 3, ..Transit::default() }).await;
    shop.sandbox.set_behaviour(Behaviour { duplicates: 1, ..Behaviour::default() });
    shop.expired().await;
    assert!(receiver.next().await.genuine);
    shop.sandbox.drained().await;
    assert!(receiver.is_empty());
    let log: Vec<_> = shop.sandbox.attempts().iter().map(|one| (one.lost, one.status)).collect();
    // The copy is lost with the first delivery.
    let lost = (true, None);
    assert_eq!(log, [lost, lost, lost, lost, (false, Some(200))]);
}

/// Which of forty events lose their first delivery.
async fn lost_with(seed: u64) -> Vec<bool> {
    let receiver = Receiver::start().await;
    let shop = shop_for(&receiver, Transit { loss_percent: 50, give_up: true, ..Transit::default() }).await;
    shop.sandbox.set_behaviour(Behaviour { seed, hold: true, ..Behaviour::default() });
    for _ in 0..40 {
        shop.expired().await;
    }
    shop.sandbox.release();
    shop.sandbox.drained().await;
    let attempts = shop.sandbox.attempts();
    let lost: HashSet<_> = attempts.iter().filter(|one| one.lost).map(|one| one.event.clone()).collect();
    let (_, events) = shop.get("/v1/events?limit=100").await;
    events["data"].as_array().unwrap().iter().rev().map(|event| lost.contains(&id_of(event))).collect()
}

#[tokio::test]
async fn a_seed_loses_the_same_events_each_time() {
    let first = lost_with(7).await;
    assert_eq!(first, lost_with(7).await);
    assert_ne!(first, lost_with(8).await);
    assert!((8..32).contains(&first.iter().filter(|lost| **lost).count()), "{first:?}");
}

#[tokio::test]
async fn delayed_events_all_come() {
    let mut receiver = Receiver::start().await;
    let shop = shop_for(&receiver, Transit { max_delay_ms: 20, ..Transit::default() }).await;
    for _ in 0..20 {
        shop.expired().await;
    }
    let events: HashSet<_> = receiver.take(20).await.iter().map(|one| id_of(&one.event())).collect();
    assert_eq!(events.len(), 20);
    shop.sandbox.drained().await;
}

#[tokio::test]
async fn the_signature_carries_a_wrong_clock() {
    let mut receiver = Receiver::start().await;
    let shop = shop_for(&receiver, Transit { clock_skew_seconds: -301, ..Transit::default() }).await;
    shop.expired().await;
    let delivery = receiver.next().await;
    assert!(delivery.genuine);
    assert!(delivery.signature.starts_with(&format!("t={},", START - 301)), "{}", delivery.signature);
}

#[tokio::test]
async fn some_events_come_with_a_wrong_signature_first() {
    let mut receiver = Receiver::start().await;
    let shop = shop_for(&receiver, Transit { wrong_signature_percent: 100, ..Transit::default() }).await;
    shop.expired().await;
    let genuine: Vec<_> = receiver.take(2).await.iter().map(|one| one.genuine).collect();
    assert_eq!(genuine, [false, true]);
}

#[tokio::test]
async fn secrets_are_rotated_with_an_overlap() {
    let mut receiver = Receiver::start().await;
    receiver.answer_with(&[StatusCode::OK; 3]);
    let shop = shop_for(&receiver, Transit::default()).await;
    shop.sandbox.rotate_secrets(vec!["whsec_new".to_owned()], Duration::from_secs(60)).unwrap();
    shop.expired().await;
    let delivery = receiver.next().await;
    assert_eq!(delivery.signature, sign_with_all(&[SECRET, "whsec_new"], START, &delivery.body));
    shop.clock.advance(Duration::from_secs(60));
    shop.expired().await;
    let delivery = receiver.next().await;
    assert_eq!(delivery.signature, sign("whsec_new", START + 60, &delivery.body));

    let (status, body) =
        shop.control("/sandbox/secrets", json!({ "secrets": ["whsec_newest"], "overlap_seconds": 0 })).await;
    assert_eq!((status.as_u16(), &body["secrets"]), (200, &json!(1)));
    shop.expired().await;
    let delivery = receiver.next().await;
    assert_eq!(delivery.signature, sign("whsec_newest", START + 60, &delivery.body));
    for wrong in [json!({}), json!({ "secrets": [""] }), json!({ "secrets": "whsec_x" })] {
        let (status, body) = shop.control("/sandbox/secrets", wrong).await;
        assert_eq!(status, 400);
        assert!(!body.to_string().contains("whsec"), "{body}");
    }
    let too_long = shop.sandbox.rotate_secrets(vec!["a".to_owned()], Duration::from_secs(86_401));
    assert_eq!(too_long.unwrap_err().code, "parameter_invalid");
}

#[tokio::test]
async fn a_disabled_endpoint_gets_nothing_and_ends_what_was_under_way() {
    let mut receiver = Receiver::start().await;
    receiver.answer_with(&[StatusCode::SERVICE_UNAVAILABLE]);
    let mut config = config();
    config.webhook_url = Some(receiver.url.clone());
    // Long enough that no retry comes by itself.
    config.retry.first_wait = Duration::from_secs(3600);
    let shop = Shop::open_with(config).await;
    shop.expired().await;
    receiver.next().await;
    let (_, body) = shop.control("/sandbox/webhook", json!({ "enabled": false })).await;
    assert_eq!(body["enabled"], false);
    shop.expired().await;
    shop.sandbox.set_behaviour(Behaviour { hold: true, ..Behaviour::default() });
    shop.expired().await;
    shop.sandbox.drained().await;
    let (_, missed) = shop.get("/v1/events?delivery_success=false").await;
    assert_eq!(missed["data"].as_array().unwrap().len(), 3);

    shop.sandbox.set_behaviour(Behaviour::default());
    shop.sandbox.set_webhook_enabled(true);
    shop.expired().await;
    receiver.next().await;
    shop.sandbox.drained().await;
    assert!(receiver.is_empty());
}

#[tokio::test]
async fn a_new_address_gets_what_comes_then() {
    let (mut old, mut new) = (Receiver::start().await, Receiver::start().await);
    let shop = shop_for(&old, Transit::default()).await;
    shop.expired().await;
    old.next().await;
    let (_, body) = shop.control("/sandbox/webhook", json!({ "url": new.url })).await;
    assert_eq!(body, json!({ "url": new.url, "enabled": true, "secrets": 1 }));
    shop.expired().await;
    new.next().await;
    assert!(old.is_empty());
    let (status, _) = shop.control("/sandbox/webhook", json!({ "url": "not a url" })).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn every_control_explains_its_mistakes() {
    let shop = Shop::open().await;
    let wrong = json!({ "typo": 1 });
    for (path, member) in [
        ("/sandbox/behaviour", "duplicates"),
        ("/sandbox/transit", "max_delay_ms"),
        ("/sandbox/faults", "writes"),
        ("/sandbox/bank", "refunds"),
        ("/sandbox/webhook", "enabled"),
        ("/sandbox/secrets", "overlap_seconds"),
    ] {
        let (status, body) = shop.control(path, wrong.clone()).await;
        let message = body["error"]["message"].as_str().unwrap();
        assert_eq!(status, 400, "{path}");
        assert!(message.contains("unknown field `typo`") && message.contains(member), "{path}: {message}");
    }
    for (path, body, part) in [
        ("/sandbox/behaviour", json!({ "duplicates": 101 }), "At most 100"),
        ("/sandbox/transit", json!({ "loss_percent": 101 }), "At most 100"),
        ("/sandbox/faults", json!({ "fault": "mood" }), "`stored_error`, `lost_answer`, `no_answer`"),
        ("/sandbox/bank", json!({ "refunds": "never" }), "`immediate` or `pending`"),
    ] {
        let (status, answer) = shop.control(path, body).await;
        assert_eq!(status, 400, "{path}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(part), "{answer}");
    }
    // What is set is what is shown, and an empty body sets it back.
    for (path, body) in [
        ("/sandbox/behaviour", json!({ "duplicates": 2, "seed": 9 })),
        ("/sandbox/transit", json!({ "loss_percent": 5 })),
        ("/sandbox/faults", json!({ "writes": 3, "fault": "lost_answer" })),
        ("/sandbox/bank", json!({ "refunds": "pending", "settle_after_seconds": 5 })),
    ] {
        let (_, before) = shop.get(path).await;
        let (_, set) = shop.control(path, body.clone()).await;
        assert_eq!(shop.get(path).await.1, set);
        for (member, value) in body.as_object().unwrap() {
            assert_eq!(&set[member], value, "{path}");
        }
        assert_eq!(crate::shop::answer(shop.post(path, "").send().await.unwrap()).await.1, before);
    }
    let (_, index): (_, Value) = shop.get("/sandbox").await;
    assert!(index["routes"].as_array().unwrap().contains(&json!("POST /sandbox/disputes")));
}
