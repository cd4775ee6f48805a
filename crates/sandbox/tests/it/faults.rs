//! An API that fails on purpose.

use quire_sandbox::{WriteFault, WriteFaults};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::shop::{INTENT, KEY, Shop, answer, ids};

fn faults(fault: WriteFault, writes: u32) -> WriteFaults {
    WriteFaults { writes, fault, path: None }
}

async fn intents(shop: &Shop) -> usize {
    ids(&shop.get("/v1/payment_intents").await.1).len()
}

/// A request as it goes over the wire, which tells an answer from the end of the connection.
async fn send(shop: &Shop, key: &str) -> TcpStream {
    let address = shop.sandbox.url().trim_start_matches("http://").to_owned();
    let mut connection = TcpStream::connect(&address).await.unwrap();
    let request = format!(
        "POST /v1/payment_intents HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {KEY}\r\n\
         idempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{INTENT}",
        INTENT.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

#[tokio::test]
async fn a_stored_error_is_repeated_for_ever_under_its_key() {
    let shop = Shop::open().await;
    shop.sandbox.set_write_faults(faults(WriteFault::StoredError, 1));
    let post = async |key: &str| {
        shop.post("/v1/payment_intents", INTENT).header("idempotency-key", key).send().await.unwrap()
    };
    for replayed in [false, true, true] {
        let response = post("a").await;
        assert_eq!(response.headers().contains_key("idempotent-replayed"), replayed);
        let (status, body) = answer(response).await;
        assert_eq!((status.as_u16(), &body["error"]["type"]), (500, &json!("api_error")));
    }
    assert_eq!(intents(&shop).await, 0);
    assert_eq!(post("b").await.status(), 200);
    assert_eq!(post("a").await.status(), 500);
    shop.clock.advance(std::time::Duration::from_secs(24 * 60 * 60 + 1));
    assert_eq!(post("a").await.status(), 200);
    assert_eq!(intents(&shop).await, 2);
}

#[tokio::test]
async fn a_lost_answer_is_there_when_it_is_asked_for_again() {
    let shop = Shop::open().await;
    shop.sandbox.set_write_faults(faults(WriteFault::LostAnswer, 1));
    let mut nothing = Vec::new();
    let read = send(&shop, "k").await.read_to_end(&mut nothing).await;
    // The end of the connection or its reset, but not a byte of an answer.
    assert!(matches!(read, Ok(0) | Err(_)) && nothing.is_empty(), "{nothing:?}");
    assert_eq!(intents(&shop).await, 1);
    let again = shop.post("/v1/payment_intents", INTENT).header("idempotency-key", "k");
    let again = again.send().await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    let (_, body) = answer(again).await;
    assert_eq!(ids(&shop.get("/v1/payment_intents").await.1), [body["id"].as_str().unwrap()]);
}

#[tokio::test]
async fn a_request_without_an_answer_did_nothing_and_holds_its_key_until_the_caller_hangs_up() {
    let shop = Shop::open().await;
    let (status, set) = shop
        .control(
            "/sandbox/faults",
            json!({ "fault": "no_answer", "writes": 1, "path": "/v1/payment_intents" }),
        )
        .await;
    assert_eq!((status.as_u16(), &set["writes"]), (200, &json!(1)));
    // A refund is not meant.
    shop.refused("/v1/refunds", "payment_intent=pi_none").await;
    let silent = send(&shop, "k").await;
    let post = || shop.post("/v1/payment_intents", INTENT).header("idempotency-key", "k").send();
    while shop.get("/sandbox/faults").await.1["writes"] != 0 {}
    assert_eq!(post().await.unwrap().status(), 409);
    assert_eq!(intents(&shop).await, 0);
    drop(silent);
    // The server notices in its own time.
    let response = loop {
        let response = post().await.unwrap();
        if response.status() != 409 {
            break response;
        }
    };
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("idempotent-replayed"));
    assert_eq!(intents(&shop).await, 1);
}

#[tokio::test]
async fn a_silent_request_does_not_hold_up_the_end() {
    let shop = Shop::open().await;
    shop.sandbox.set_write_faults(faults(WriteFault::NoAnswer, 1));
    let mut silent = send(&shop, "k").await;
    while shop.get("/sandbox/faults").await.1["writes"] != 0 {}
    shop.close().await;
    let mut nothing = Vec::new();
    let read = silent.read_to_end(&mut nothing).await;
    assert!(matches!(read, Ok(0) | Err(_)) && nothing.is_empty(), "{nothing:?}");
}

#[tokio::test]
async fn reads_go_well_while_writes_fail() {
    let shop = Shop::open().await;
    shop.sandbox.set_write_faults(faults(WriteFault::StoredError, 2));
    assert_eq!(shop.get("/v1/payment_intents").await.0, 200);
    for status in [500, 500, 200] {
        let response = shop.post("/v1/payment_intents", INTENT).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status);
    }
}
