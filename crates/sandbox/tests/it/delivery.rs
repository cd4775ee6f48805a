//! Webhooks: signed, repeated until they are taken, and wrong on demand.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use quire_sandbox::signature::sign;
use quire_sandbox::{Behaviour, SandboxConfig};
use reqwest::StatusCode;
use serde_json::json;

use crate::receiver::{Receiver, SECRET};
use crate::shop::{START, Shop, config};

async fn shop_for(receiver: &Receiver, behaviour: Behaviour) -> Shop {
    Shop::open_with(SandboxConfig { webhook_url: Some(receiver.url.clone()), behaviour, ..config() }).await
}

#[tokio::test]
async fn a_payment_sends_three_signed_events() {
    let mut receiver = Receiver::start().await;
    let shop = shop_for(&receiver, Behaviour::default()).await;
    let (session, intent) = shop.paid().await;
    let deliveries = receiver.take(3).await;
    let mut objects = HashMap::new();
    for delivery in &deliveries {
        assert!(delivery.genuine);
        let event = delivery.event();
        assert!(event["id"].as_str().unwrap().starts_with("evt_"));
        assert_eq!((&event["object"], &event["created"]), (&json!("event"), &json!(START)));
        assert_eq!((&event["livemode"], &event["pending_webhooks"]), (&json!(false), &json!(1)));
        objects.insert(delivery.kind(), event["data"]["object"].clone());
    }
    let completed = &objects["checkout.session.completed"];
    assert_eq!((&completed["id"], &completed["payment_status"]), (&json!(session), &json!("paid")));
    assert_eq!(objects["payment_intent.succeeded"]["id"], intent.as_str());
    assert_eq!(objects["charge.succeeded"]["payment_intent"], intent.as_str());
    shop.sandbox.drained().await;
    assert!(receiver.is_empty());
    let (_, events) = shop.get("/v1/events").await;
    assert!(events["data"].as_array().unwrap().iter().all(|event| event["pending_webhooks"] == 0));
}

#[tokio::test]
async fn every_secret_signs() {
    let mut receiver = Receiver::start().await;
    let mut config = config();
    config.webhook_secrets.insert(0, "whsec_old".to_owned());
    config.webhook_url = Some(receiver.url.clone());
    let shop = Shop::open_with(config).await;
    receiver.answer_with(&[StatusCode::OK; 3]);
    shop.paid().await;
    let delivery = receiver.next().await;
    let old = sign("whsec_old", START, &delivery.body);
    let new = sign(SECRET, START, &delivery.body);
    assert_eq!(delivery.signature, format!("{old},{}", new.split_once(',').unwrap().1));
}

#[tokio::test]
async fn a_refused_event_is_sent_again_with_the_same_body_and_a_new_time() {
    let mut receiver = Receiver::start().await;
    receiver.answer_with(&[StatusCode::INTERNAL_SERVER_ERROR, StatusCode::FOUND]);
    let shop = shop_for(&receiver, Behaviour { hold: true, ..Behaviour::default() }).await;
    shop.expired().await;
    shop.clock.advance(Duration::from_secs(60));
    assert_eq!(shop.sandbox.release(), 1);
    let deliveries = receiver.take(3).await;
    assert!(deliveries.iter().all(|delivery| delivery.genuine && delivery.body == deliveries[0].body));
    assert!(deliveries[0].signature.starts_with(&format!("t={},", START + 60)));
    shop.sandbox.drained().await;
    assert!(receiver.is_empty());
    let statuses: Vec<_> = shop.sandbox.attempts().iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [Some(500), Some(302), Some(200)]);
}

#[tokio::test]
async fn an_event_is_given_up_after_three_days() {
    let mut receiver = Receiver::start().await;
    receiver.answer_with(&[StatusCode::SERVICE_UNAVAILABLE; 1000]);
    let mut config = config();
    config.webhook_url = Some(receiver.url.clone());
    config.retry.longest_wait = Duration::from_millis(1);
    let shop = Shop::open_with(config).await;
    shop.expired().await;
    receiver.next().await;
    receiver.next().await;
    shop.clock.advance(Duration::from_secs(3 * 24 * 60 * 60));
    shop.sandbox.drained().await;
    assert!(shop.sandbox.attempts().iter().all(|attempt| attempt.status == Some(503)));
}

#[tokio::test]
async fn duplicates_are_sent_for_every_event() {
    let mut receiver = Receiver::start().await;
    let shop = shop_for(&receiver, Behaviour { duplicates: 4, ..Behaviour::default() }).await;
    shop.paid().await;
    let mut counts: HashMap<String, usize> = HashMap::new();
    for delivery in receiver.take(15).await {
        assert!(delivery.genuine);
        *counts.entry(delivery.event()["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [5, 5, 5]);
    shop.sandbox.drained().await;
    assert!(receiver.is_empty());
}

#[tokio::test]
async fn a_wrong_signature_comes_first_and_the_right_one_follows() {
    let mut receiver = Receiver::start().await;
    let shop = shop_for(&receiver, Behaviour { wrong_signature_first: true, ..Behaviour::default() }).await;
    shop.expired().await;
    let deliveries = receiver.take(2).await;
    assert_eq!((deliveries[0].genuine, deliveries[1].genuine), (false, true));
    assert_eq!(deliveries[0].body, deliveries[1].body);
    shop.sandbox.drained().await;
    let log: Vec<_> = shop.sandbox.attempts().iter().map(|one| (one.forged, one.status)).collect();
    assert_eq!(log, [(true, Some(400)), (false, Some(200))]);
}

/// The kinds in the order of arrival, when ten events are released at once.
async fn order_with(seed: u64) -> Vec<String> {
    let mut receiver = Receiver::start().await;
    let shop =
        shop_for(&receiver, Behaviour { shuffle: true, seed, hold: true, ..Behaviour::default() }).await;
    for _ in 0..3 {
        shop.paid().await;
    }
    assert_eq!(shop.sandbox.release(), 9);
    receiver.take(9).await.iter().map(|delivery| delivery.kind()).collect()
}

#[tokio::test]
async fn a_seed_gives_the_same_disorder_each_time() {
    let (first, again) = (order_with(7).await, order_with(7).await);
    assert_eq!(first, again);
    let in_order = ["charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"].repeat(3);
    assert_ne!(first, in_order);
}

#[tokio::test]
async fn held_events_wait_for_their_release() {
    let mut receiver = Receiver::start().await;
    let shop = shop_for(&receiver, Behaviour::default()).await;
    assert_eq!(shop.control("/sandbox/behaviour", json!({ "hold": true })).await.0, 200);
    shop.paid().await;
    let (_, log) = shop.get("/sandbox/deliveries").await;
    assert_eq!(log, json!({ "attempts": [], "undelivered": 3, "held": 3, "given_up": 0 }));
    let response = shop.post("/sandbox/release", "").send().await.unwrap();
    assert_eq!(response.json::<serde_json::Value>().await.unwrap(), json!({ "released": 3 }));
    receiver.take(3).await;

    // Still held, until the behaviour changes.
    shop.paid().await;
    let (_, log) = shop.get("/sandbox/deliveries").await;
    assert_eq!(log["held"], 3);
    shop.sandbox.set_behaviour(Behaviour::default());
    let kinds: HashSet<_> = receiver.take(3).await.iter().map(|delivery| delivery.kind()).collect();
    assert_eq!(kinds.len(), 3);
    shop.sandbox.drained().await;
    let (_, log) = shop.get("/sandbox/deliveries").await;
    assert_eq!((log["attempts"].as_array().unwrap().len(), &log["held"]), (6, &json!(0)));
}

#[tokio::test]
async fn events_wait_for_the_address_of_the_webhook() {
    let mut receiver = Receiver::start().await;
    let shop = Shop::open().await;
    shop.paid().await;
    shop.sandbox.set_webhook_url(&receiver.url);
    assert_eq!(receiver.take(3).await.len(), 3);
}

#[tokio::test]
async fn two_sandboxes_do_not_see_each_other() {
    let (one, two) = (Shop::open().await, Shop::open().await);
    let (session, _) = one.paid().await;
    let (status, _) = two.get(&format!("/v1/checkout/sessions/{session}")).await;
    assert_eq!(status, 404);
}
