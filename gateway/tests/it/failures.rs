//! Failures behind the gateway: each has its HTTP status, is JSON, and says nothing of what happened inside.

use serde_json::json;

use crate::door::{Door, header, json};
use crate::upstream::{Behaviour, Upstream, nowhere};

#[tokio::test]
async fn every_code_of_a_service_has_its_status() {
    for (code, status) in [
        (1, 499),
        (2, 500),
        (3, 400),
        (4, 504),
        (5, 404),
        (6, 409),
        (7, 403),
        (8, 429),
        (9, 409),
        (10, 409),
        (12, 501),
        (13, 500),
        (14, 503),
        (15, 500),
        (16, 401),
    ] {
        let upstream = Upstream::start(Behaviour::Fail(code)).await;
        let door = Door::open(&upstream.url, "codes", &[]).await;
        let answer = door.magic_link().header("x-request-id", "mine").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "code {code}");
        assert_eq!(header(&answer, "content-type"), "application/json");
        assert_eq!(header(&answer, "x-request-id"), "mine");
        let body = json(answer).await;
        assert!(body["detail"].is_string(), "{body}");
        if [500, 501, 503, 504].contains(&status) {
            assert!(!body.to_string().contains("hunter2"), "code {code} shows the inside: {body}");
        }
    }
}

#[tokio::test]
async fn without_its_services_the_gateway_lives_but_is_not_ready() {
    let door = Door::open(&nowhere().await, "nowhere", &[]).await;
    let answer = door.magic_link().send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(header(&answer, "x-quire-reason"), "UNAVAILABLE");
    let live = door.request(reqwest::Method::GET, "/livez").send().await.unwrap();
    assert_eq!(live.status(), 200);
    let ready = door.request(reqwest::Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let services = ["auth", "document", "job", "payment"].map(|name| (name.to_owned(), json!("unavailable")));
    let services = serde_json::Map::from_iter(services);
    assert_eq!(json(ready).await, json!({ "status": "unavailable", "services": services }));
}

/// tonic reports a deadline that ran out as a cancellation, which would be the client's own doing.
#[tokio::test]
async fn a_frozen_service_is_504() {
    let upstream = Upstream::start(Behaviour::Freeze).await;
    let door = Door::open(&upstream.url, "frozen", &[]).await;
    let answer = door.magic_link().send().await.unwrap();
    assert_eq!(answer.status(), 504);
    assert_eq!(header(&answer, "x-quire-reason"), "DEADLINE_EXCEEDED");
}
