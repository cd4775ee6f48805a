//! Repeated requests.

use reqwest::Response;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::shop::{KEY, ORDER, Shop, answer, ids};

async fn post(shop: &Shop, path: &str, form: &str, key: &str) -> Response {
    shop.post(path, form).header("idempotency-key", key).send().await.unwrap()
}

#[tokio::test]
async fn the_same_key_and_parameters_get_the_saved_answer() {
    let shop = Shop::open().await;
    let first = post(&shop, "/v1/checkout/sessions", ORDER, "k").await;
    assert!(!first.headers().contains_key("idempotent-replayed"));
    let request_id = first.headers()["request-id"].clone();
    let second = post(&shop, "/v1/checkout/sessions", ORDER, "k").await;
    assert_eq!(second.headers()["idempotent-replayed"], "true");
    assert_eq!(second.headers()["original-request"], request_id);
    assert_ne!(second.headers()["request-id"], request_id);
    assert_eq!(answer(first).await, answer(second).await);
    let (_, sessions) = shop.get("/v1/checkout/sessions").await;
    assert_eq!(ids(&sessions).len(), 1);
    post(&shop, "/v1/checkout/sessions", ORDER, "other").await;
    let (_, sessions) = shop.get("/v1/checkout/sessions").await;
    assert_eq!(ids(&sessions).len(), 2);
}

#[tokio::test]
async fn the_same_key_with_other_parameters_is_refused() {
    let shop = Shop::open().await;
    post(&shop, "/v1/checkout/sessions", ORDER, "k").await;
    let other = ORDER.replace("unit_amount]=25", "unit_amount]=26");
    let (status, body) = answer(post(&shop, "/v1/checkout/sessions", &other, "k").await).await;
    assert_eq!((status.as_u16(), &body["error"]["type"]), (400, &json!("idempotency_error")));
    let (status, body) = answer(post(&shop, "/v1/refunds", ORDER, "k").await).await;
    assert_eq!((status.as_u16(), &body["error"]["type"]), (400, &json!("idempotency_error")));
}

#[tokio::test]
async fn a_repeated_refund_refunds_once_and_a_refusal_is_repeated() {
    let shop = Shop::open().await;
    let (_, intent) = shop.paid().await;
    let form = format!("payment_intent={intent}&amount=100");
    let first = answer(post(&shop, "/v1/refunds", &form, "a").await).await;
    assert_eq!(answer(post(&shop, "/v1/refunds", &form, "a").await).await, first);
    let (_, balance) = shop.get("/v1/balance").await;
    assert_eq!(balance["available"][0]["amount"], 25);
    for replayed in [false, true] {
        let refused = post(&shop, "/v1/refunds", &form, "b").await;
        assert_eq!(
            (refused.status().as_u16(), refused.headers().contains_key("idempotent-replayed")),
            (400, replayed)
        );
    }
}

#[tokio::test]
async fn a_request_that_failed_validation_does_not_use_up_its_key() {
    let shop = Shop::open().await;
    assert_eq!(post(&shop, "/v1/checkout/sessions", "mode=payment", "k").await.status(), 400);
    assert_eq!(post(&shop, "/v1/checkout/sessions", ORDER, "k").await.status(), 200);
}

#[tokio::test]
async fn a_key_is_new_again_after_a_day() {
    let shop = Shop::open().await;
    let first = answer(post(&shop, "/v1/checkout/sessions", ORDER, "k").await).await;
    shop.clock.advance(std::time::Duration::from_secs(24 * 60 * 60 + 1));
    let second = answer(post(&shop, "/v1/checkout/sessions", ORDER, "k").await).await;
    assert_ne!(first.1["id"], second.1["id"]);
}

#[tokio::test]
async fn a_key_whose_request_is_running_is_in_conflict() {
    let shop = Shop::open().await;
    let address = shop.sandbox.url().trim_start_matches("http://").to_owned();
    let mut slow = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /v1/checkout/sessions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {KEY}\r\n\
         idempotency-key: k\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        ORDER.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body only after it has taken the key.
    let mut go_on = [0; 25];
    slow.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    let (status, body) = answer(post(&shop, "/v1/checkout/sessions", ORDER, "k").await).await;
    assert_eq!((status.as_u16(), &body["error"]["type"]), (409, &json!("idempotency_error")));

    slow.write_all(ORDER.as_bytes()).await.unwrap();
    let mut reply = String::new();
    slow.read_to_string(&mut reply).await.unwrap();
    let slow: Value = serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1).unwrap();
    let (_, replayed) = answer(post(&shop, "/v1/checkout/sessions", ORDER, "k").await).await;
    assert_eq!(replayed, slow);
}
