//! What signed-in callers and operators can do through auth, and the keys that everybody may see.

use prost::Message;
use quire_identity::Role;
use quire_proto::auth::v1 as pb;
use reqwest::Method;
use serde_json::json;

use crate::door::{Door, header, json};
use crate::tokens::{self, KEY_ID, PUBLIC};
use crate::upstream::{Behaviour, Upstream};

#[tokio::test]
async fn the_public_keys_are_there_for_everybody() {
    let upstream = Upstream::with(tokens::auth()).await;
    let door = Door::open(&upstream.url, "jwks", &[]).await;
    let answer = door.request(Method::GET, "/.well-known/jwks.json").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "cache-control"), "public, max-age=600");
    let key =
        json!({ "kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": KEY_ID, "use": "sig", "alg": "EdDSA" });
    assert_eq!(json(answer).await, json!({ "keys": [key] }));

    let upstream = Upstream::start(Behaviour::Fail(14)).await;
    let door = Door::open(&upstream.url, "no keys", &[]).await;
    let answer = door.request(Method::GET, "/.well-known/jwks.json").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "cache-control").as_str()), (503, "no-store"));
}

#[tokio::test]
async fn a_missing_token_and_a_wrong_one_are_told_apart() {
    let upstream = Upstream::with(tokens::auth()).await;
    let door = Door::open(&upstream.url, "challenge", &[]).await;
    let me = || door.request(Method::GET, "/api/v1/auth/me");
    let wrong = r#"Bearer error="invalid_token""#;
    for (request, challenge) in [
        (me(), "Bearer"),
        (me().header("authorization", "Basic YTpi"), "Bearer"),
        (me().bearer_auth("nonsense"), wrong),
        (me().bearer_auth(tokens::refresh("s")), wrong),
        (me().bearer_auth(format!("{}x", tokens::access("ada", Role::User))), wrong),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "www-authenticate").as_str()),
            (401, challenge)
        );
    }
    assert!(upstream.calls().is_empty());
}

#[tokio::test]
async fn sessions_are_named_and_ended() {
    let mut answers = tokens::auth();
    let session =
        pb::Session { id: "s1".to_owned(), name: "the old laptop".to_owned(), ..Default::default() };
    let renamed = pb::RenameSessionResponse { session: Some(session) };
    answers.insert("RenameSession", renamed.encode_to_vec());
    answers.insert("RevokeSession", Vec::new());
    answers.insert("RevokeOtherSessions", pb::RevokeOtherSessionsResponse { revoked: 2 }.encode_to_vec());
    let upstream = Upstream::with(answers).await;
    let door = Door::open(&upstream.url, "sessions", &[]).await;
    let token = tokens::access("ada", Role::User);
    let call = |method, path: &str| door.request(method, path).bearer_auth(&token);

    let body = json!({ "name": "the old laptop" });
    let answer = call(Method::PATCH, "/api/v1/auth/sessions/s1").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(json(answer).await["name"], "the old laptop");
    let sent: pb::RenameSessionRequest = upstream.calls()[0].message();
    assert_eq!((sent.session_id.as_str(), sent.name.as_str()), ("s1", "the old laptop"));

    let answer = call(Method::PATCH, "/api/v1/auth/sessions/s1").json(&json!({})).send().await.unwrap();
    assert_eq!(answer.status(), 422);

    let answer = call(Method::DELETE, "/api/v1/auth/sessions/s1").send().await.unwrap();
    assert_eq!(answer.status(), 204);
    let sent: pb::RevokeSessionRequest = upstream.calls()[1].message();
    assert_eq!(sent.session_id, "s1");

    let answer = call(Method::DELETE, "/api/v1/auth/sessions").send().await.unwrap();
    assert_eq!(json(answer).await, json!({ "revoked": 2 }));
}

#[tokio::test]
async fn the_filters_of_the_audit_log_reach_auth() {
    let mut answers = tokens::auth();
    let event = pb::AuditEvent { seq: 7, actor_id: "operator".to_owned(), ..Default::default() };
    let page = pb::ListAuditEventsResponse { events: vec![event], next_page_token: String::new() };
    answers.insert("ListAuditEvents", page.encode_to_vec());
    let upstream = Upstream::with(answers).await;
    let door = Door::open(&upstream.url, "audit", &[]).await;
    let token = tokens::access("operator", Role::Admin);
    let list = |path: &str| door.request(Method::GET, &format!("/api/v1/{path}")).bearer_auth(&token);

    let query = "user_id=u&session_id=s&action=session.&outcome=failure&reason=R&client_address=192.0.2.1\
                 &request_id=q&since=2026-11-23T20:53:20Z&until=2026-11-23T22:53:20.5%2B01:00&page_size=9";
    let answer = list(&format!("admin/audit?{query}")).send().await.unwrap();
    let event = &json(answer).await["events"][0];
    assert_eq!((&event["seq"], &event["actor_id"]), (&json!(7), &json!("operator")));
    let moment = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let expected = pb::ListAuditEventsRequest {
        page_size: 9,
        page_token: String::new(),
        everybody: true,
        user_id: "u".to_owned(),
        session_id: "s".to_owned(),
        action: "session.".to_owned(),
        outcome: "failure".to_owned(),
        reason: "R".to_owned(),
        client_address: "192.0.2.1".to_owned(),
        request_id: "q".to_owned(),
        since: moment(1_795_467_200, 0),
        until: moment(1_795_470_800, 500_000_000),
    };
    assert_eq!(upstream.calls()[0].message::<pb::ListAuditEventsRequest>(), expected);

    for (query, field) in [("since=yesterday", "since"), ("until=2026-11-23", "until"), ("since=", "since")] {
        let answer = list(&format!("auth/audit?{query}")).send().await.unwrap();
        assert_eq!(answer.status(), 422, "{query}");
        assert_eq!(json(answer).await["detail"][0]["loc"], json!(["query", field]));
    }
    list("auth/audit").send().await.unwrap();
    let sent: pb::ListAuditEventsRequest = upstream.calls()[1].message();
    assert_eq!(sent, pb::ListAuditEventsRequest::default());
}

#[tokio::test]
async fn operators_find_block_and_unblock_users() {
    let mut answers = tokens::auth();
    let user = |blocked| Some(pb::User { id: "bob".to_owned(), blocked, ..Default::default() });
    let users = pb::ListUsersResponse { users: user(false).into_iter().collect(), ..Default::default() };
    answers.insert("ListUsers", users.encode_to_vec());
    answers.insert("BlockUser", pb::BlockUserResponse { user: user(true) }.encode_to_vec());
    answers.insert("UnblockUser", pb::UnblockUserResponse { user: user(false) }.encode_to_vec());
    let upstream = Upstream::with(answers).await;
    let door = Door::open(&upstream.url, "users", &[]).await;
    let token = tokens::access("operator", Role::Admin);
    let call = |method, path: &str| {
        door.request(method, &format!("/api/v1/admin/users{path}")).bearer_auth(&token).send()
    };

    let found = json(call(Method::GET, "?email=bob@example.org&page_size=3").await.unwrap()).await;
    assert_eq!(found["users"][0]["id"], "bob");
    let sent: pb::ListUsersRequest = upstream.calls()[0].message();
    assert_eq!((sent.email.as_str(), sent.page_size), ("bob@example.org", 3));
    let blocked = json(call(Method::POST, "/bob/block").await.unwrap()).await;
    assert_eq!(blocked["blocked"], true);
    let unblocked = json(call(Method::POST, "/bob/unblock").await.unwrap()).await;
    assert_eq!(unblocked["blocked"], false);
    let sent: pb::UnblockUserRequest = upstream.calls()[2].message();
    assert_eq!(sent.user_id, "bob");
}

#[tokio::test]
async fn a_listed_origin_reads_the_limits_and_may_send_the_cookie() {
    let upstream = Upstream::start(Behaviour::Fail(7)).await;
    let settings = [("QUIRE_CORS_ORIGINS", "https://app.example")];
    let door = Door::open(&upstream.url, "cors", &settings).await;
    let answer = door.magic_link().header("origin", "https://app.example").send().await.unwrap();
    assert_eq!(header(&answer, "access-control-allow-origin"), "https://app.example");
    assert_eq!(header(&answer, "access-control-allow-credentials"), "true");
    assert_eq!(
        header(&answer, "access-control-expose-headers"),
        "ratelimit,ratelimit-policy,retry-after,idempotency-replayed,x-request-id,x-quire-reason"
    );
    let preflight = door.request(Method::OPTIONS, "/api/v1/auth/sessions/s1");
    let preflight = preflight.header("origin", "https://app.example");
    let preflight = preflight.header("access-control-request-method", "DELETE").send().await.unwrap();
    let methods = header(&preflight, "access-control-allow-methods");
    assert!(methods.contains("DELETE") && methods.contains("PATCH"), "{methods}");
    let stranger = door.magic_link().header("origin", "https://evil.example").send().await.unwrap();
    assert_eq!(header(&stranger, "access-control-allow-origin"), "");
}
