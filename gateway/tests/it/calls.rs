//! What a service learns of the request that it is called for.

use quire_identity::Role;
use reqwest::Method;

use crate::door::Door;
use crate::tokens;
use crate::upstream::{Behaviour, Upstream};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn a_call_carries_the_trace_the_request_id_and_a_deadline() {
    let upstream = Upstream::start(Behaviour::Fail(7)).await;
    let door = Door::open(&upstream.url, "calls", &[]).await;
    let request = door.magic_link().header("traceparent", TRACE).header("x-request-id", "mine");
    request.header("user-agent", "a browser").send().await.unwrap();
    let calls = upstream.calls();
    assert_eq!(calls.len(), 1, "what may change something is not sent twice: {calls:?}");
    let call = &calls[0];
    assert_eq!(call.path, "/quire.auth.v1.AuthService/RequestMagicLink");
    // The span may be one of the gateway's, the trace is the client's.
    assert_eq!(call.header("traceparent").split('-').nth(1), TRACE.split('-').nth(1), "{call:?}");
    assert_eq!(call.header("x-request-id"), "mine");
    assert!(!call.header("grpc-timeout").is_empty(), "{call:?}");
    assert!(call.header("x-quire-service-token").starts_with("gateway."), "{call:?}");
    assert_eq!(call.header("x-quire-client-address"), "127.0.0.1");
    assert_eq!(call.header("x-quire-user-agent"), "a browser");
}

#[tokio::test]
async fn what_a_client_writes_into_internal_headers_goes_no_further() {
    let upstream = Upstream::start(Behaviour::Fail(7)).await;
    let door = Door::open(&upstream.url, "internal", &[]).await;
    let request = door.magic_link().header("x-quire-client-address", "6.6.6.6");
    let request =
        request.header("x-quire-service-token", "payment.9999999999.00").header("grpc-timeout", "1n");
    request.header("x-request-id", "line\tbreak").send().await.unwrap();
    let call = &upstream.calls()[0];
    assert_eq!(call.headers.get_all("x-quire-client-address").iter().count(), 1);
    assert_eq!(call.header("x-quire-client-address"), "127.0.0.1");
    assert!(call.header("x-quire-service-token").starts_with("gateway."));
    assert_ne!(call.header("grpc-timeout"), "1n");
    assert_eq!(call.header("x-request-id").len(), 36, "{call:?}");
}

#[tokio::test]
async fn a_read_is_tried_once_more_when_the_service_did_not_answer() {
    let upstream = Upstream::start(Behaviour::Fail(14)).await;
    let door = Door::open(&upstream.url, "twice", &[]).await;
    let answer = door.request(Method::GET, "/api/v1/pricing/current").send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(upstream.calls().len(), 2);
}

#[tokio::test]
async fn who_a_client_claims_to_be_reaches_no_service() {
    let upstream = Upstream::with(tokens::auth()).await;
    let door = Door::open(&upstream.url, "claims", &[]).await;
    let token = tokens::access("ada", Role::User);
    let claims = [
        ("x-user-id", "evil"),
        ("x-quire-service-token", "gateway.9999999999.evil"),
        ("x-quire-client-address", "evil"),
        ("x-quire-user-agent", "evil"),
        ("grpc-metadata-x-user-id", "evil"),
        ("grpc-metadata-authorization", "Bearer evil"),
        ("x-forwarded-user", "evil"),
        ("x-quire-role-bin", "ZXZpbA"),
        ("cookie", "evil=1"),
    ];
    let get = |path: &str| door.request(Method::GET, path).bearer_auth(&token);
    for request in [door.magic_link(), get("/api/v1/auth/me"), get("/api/v1/documents"), get("/api/v1/jobs")]
    {
        let request = claims.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.header("user-agent", "a browser").send().await.unwrap();
    }
    let calls = upstream.calls();
    assert_eq!(calls.len(), 4, "{calls:?}");
    for call in calls {
        for (name, value) in &call.headers {
            let text = String::from_utf8_lossy(value.as_bytes());
            assert!(!text.contains("evil") && !text.contains("ZXZpbA"), "{}: {name}: {text}", call.path);
            assert_eq!(call.headers.get_all(name).iter().count(), 1, "{}: {name}", call.path);
        }
        for name in ["x-user-id", "grpc-metadata-x-user-id", "x-forwarded-user", "cookie"] {
            assert!(!call.headers.contains_key(name), "{}: {name}", call.path);
        }
        assert!(call.header("x-quire-service-token").starts_with("gateway."));
        assert_eq!(call.header("x-quire-client-address"), "127.0.0.1");
        assert_eq!(call.header("x-quire-user-agent"), "a browser");
    }
}
