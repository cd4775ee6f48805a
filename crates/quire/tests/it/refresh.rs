//! Sign-in and refresh tokens: who gets a new access token, who does not, and what is left in the audit log.

use std::time::Duration;

use quire_clock::{ManualClock, World};
use quire_testkit::Backend;
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::customer::{Customer, text};
use crate::system::{OPERATOR, System};

quire_testkit::on_both_databases!(
    a_link_works_once_and_gives_both_tokens,
    a_valid_refresh_token_gives_a_new_access_token,
    an_invalid_or_empty_refresh_token_is_401,
    only_an_active_unexpired_session_is_refreshed,
    the_sixth_refresh_in_a_minute_is_429,
    every_attempt_leaves_an_audit_row,
);

/// The limit as it is without any setting.
const STRICT: (&str, &str) = ("QUIRE_LIMIT_REFRESH", "");

async fn me(system: &System, access: &str) -> Answer {
    Answer::to(system.client.request(Method::GET, "/auth/me").bearer_auth(access)).await
}

async fn a_link_works_once_and_gives_both_tokens(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let client = &system.client;

    let asked =
        client.post("/auth/magic-link", &json!({ "email": "eve@example.org" })).await.with_status(202);
    assert_eq!(asked.json()["expires_in"], 900);
    assert!(!asked.text().contains("token"), "an answer must not hold the link: {}", asked.text());

    let link = client.magic_link("Ada@Example.org ").await;
    let verified = client.post("/auth/verify-magic-link", &link).await.with_status(200).json();
    assert_eq!(verified["token_type"], "bearer");
    assert_eq!(verified["user"]["email"], "ada@example.org");
    assert!((1..=900).contains(&verified["expires_in"].as_i64().unwrap()), "{verified}");
    assert!(verified["refresh_expires_in"].as_i64().unwrap() > 900, "{verified}");

    let again = client.post("/auth/verify-magic-link", &link).await.with_status(401);
    assert_eq!(again.reason(), "MAGIC_LINK_INVALID");

    let (access, refresh) = (text(&verified["access_token"]), text(&verified["refresh_token"]));
    let opened = me(&system, &access).await.with_status(200).json();
    assert_eq!(opened["email"], "ada@example.org");
    assert_eq!(opened["id"], verified["user"]["id"]);
    assert_eq!(opened["session"]["current"], true);
    // Each token is good for one thing only.
    me(&system, &refresh).await.with_status(401);
    client.refresh(&access).await.with_status(401);
    system.stop().await;
}

async fn a_valid_refresh_token_gives_a_new_access_token(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let mut known = vec![ada.access.clone()];
    let mut refresh = ada.refresh.clone();
    for _ in 0..3 {
        let renewed = system.client.refresh(&refresh).await.with_status(200).json();
        let access = text(&renewed["access_token"]);
        assert!(!known.contains(&access), "an access token came twice");
        assert_eq!(me(&system, &access).await.with_status(200).json()["id"], ada.id.as_str());
        assert_ne!(renewed["refresh_token"], refresh.as_str(), "the refresh token was not rotated");
        refresh = text(&renewed["refresh_token"]);
        known.push(access);
    }
    system.stop().await;
}

async fn an_invalid_or_empty_refresh_token_is_401(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let (head, signature) = ada.refresh.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let tampered = format!("{head}.{other}{}", &signature[1..]);
    for wrong in ["nonsense", "a.b.c", head, tampered.as_str(), ada.access.as_str(), "", " "] {
        let refused = system.client.refresh(wrong).await.with_status(401);
        assert_eq!(refused.header("www-authenticate"), r#"Bearer error="invalid_token""#);
        assert_eq!(refused.reason(), "REFRESH_TOKEN_INVALID", "{wrong:?}");
        assert!(refused.json()["detail"].is_string(), "{}", refused.text());
    }
    // No field at all is a mistake in the body, not a wrong token.
    let missing = system.client.post("/auth/refresh", &json!({})).await.with_status(422).violation();
    assert_eq!((&missing["type"], &missing["loc"]), (&json!("missing"), &json!(["body", "refresh_token"])));
    // None of it has hurt the session.
    system.client.refresh(&ada.refresh).await.with_status(200);
    system.stop().await;
}

async fn only_an_active_unexpired_session_is_refreshed(backend: Backend) {
    let clock = ManualClock::at(World::system().now());
    let system = System::start_in(backend, &[], World::with_clock(clock.clone())).await;

    let ada = system.sign_in("ada@example.org").await;
    Answer::to(ada.request(Method::POST, "/auth/logout")).await.with_status(204);
    let ended = system.client.refresh(&ada.refresh).await.with_status(401);
    assert_eq!(ended.reason(), "SESSION_ENDED");
    // The access token has not run out, but its session is over.
    ada.get("/auth/me").await.with_status(401);

    let bob = system.sign_in("bob@example.org").await;
    clock.advance(Duration::from_secs(29 * 86_400));
    bob.get("/auth/me").await.with_status(401);
    let renewed = system.client.refresh(&bob.refresh).await.with_status(200).json();
    clock.advance(Duration::from_secs(31 * 86_400));
    system.client.refresh(&text(&renewed["refresh_token"])).await.with_status(401);
    system.stop().await;
}

async fn the_sixth_refresh_in_a_minute_is_429(backend: Backend) {
    // Counted in the process: a Redis that answers late on a busy machine would let one more through.
    let system = System::start(backend, &[STRICT, ("REDIS_URL", "")]).await;
    let ada = system.sign_in("ada@example.org").await;
    let mut refresh = ada.refresh;
    for left in (0..5).rev() {
        let renewed = system.client.refresh(&refresh).await.with_status(200);
        assert_eq!(
            renewed.header("ratelimit-policy"),
            r#""refresh-minute";q=5;w=60, "refresh-hour";q=20;w=3600, "refresh-session-minute";q=30;w=60"#
        );
        assert!(renewed.header("ratelimit").starts_with(&format!("\"refresh-minute\";r={left};t=")));
        refresh = text(&renewed.json()["refresh_token"]);
    }
    let limited = system.client.refresh(&refresh).await.with_status(429);
    assert_eq!(limited.reason(), "RATE_LIMITED");
    assert!(limited.json()["detail"].is_string());
    let wait: u64 = limited.header("retry-after").parse().unwrap();
    assert!((1..=12).contains(&wait), "Retry-After: {wait}");
    assert!(
        limited.header("ratelimit").starts_with("\"refresh-minute\";r=0;t="),
        "{}",
        limited.header("ratelimit")
    );
    // A wrong token counts as much, and the limit says nothing about it.
    system.client.refresh("nonsense").await.with_status(429);
    // The session itself is untouched.
    me(&system, &ada.access).await.with_status(200);
    system.stop().await;
}

/// With the limiter that counts in the process, so that its clock can be turned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_is_exactly_when_the_next_refresh_succeeds() {
    let clock = ManualClock::at(World::system().now());
    let system = System::start_in(Backend::Sqlite, &[STRICT], World::with_clock(clock.clone())).await;
    let mut refresh = system.sign_in("ada@example.org").await.refresh;
    let mut allowed = 0;
    let mut waited = 0;
    // To the point where the hour, not the minute, is used up.
    let policy = loop {
        let answer = system.client.refresh(&refresh).await;
        if answer.status == 200 {
            allowed += 1;
            refresh = text(&answer.json()["refresh_token"]);
            continue;
        }
        let answer = answer.with_status(429);
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        if wait > 12 {
            assert!(wait <= 180, "Retry-After: {wait}");
            break answer.header("ratelimit").to_owned();
        }
        clock.advance(Duration::from_secs(wait - 1));
        system.client.refresh(&refresh).await.with_status(429);
        clock.advance(Duration::from_secs(1));
        waited += wait;
    };
    assert!(policy.starts_with("\"refresh-hour\";r=0;"), "{policy}");
    assert!((20..=21).contains(&allowed), "{allowed} refreshes in {waited} seconds");
    system.stop().await;
}

async fn every_attempt_leaves_an_audit_row(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let renewed = system.client.refresh(&ada.refresh).await.with_status(200).json();
    let ada =
        Customer { access: text(&renewed["access_token"]), refresh: text(&renewed["refresh_token"]), ..ada };
    Answer::to(ada.request(Method::POST, "/auth/logout")).await.with_status(204);
    let body = json!({ "refresh_token": ada.refresh });
    let marked =
        system.client.request(Method::POST, "/auth/refresh").header("x-request-id", "audit-1").json(&body);
    Answer::to(marked).await.with_status(401);
    system.client.refresh("nonsense").await.with_status(401);
    system.client.post("/auth/verify-magic-link", &json!({ "token": "nonsense" })).await.with_status(401);

    let ada = system.sign_in("ada@example.org").await;
    let own = ada.get("/auth/audit").await.with_status(200);
    assert!(!own.text().contains(&ada.refresh) && !own.text().contains(&body["refresh_token"].to_string()));
    let own = rows(&own);
    assert!(own.iter().all(|row| row["user_id"] == ada.id.as_str()), "{own:?}");
    for (action, outcome, reason) in [
        ("magic_link.verified", "success", Value::Null),
        ("session.refreshed", "success", Value::Null),
        ("session.logged_out", "success", Value::Null),
        ("session.refreshed", "failure", json!("SESSION_REVOKED")),
    ] {
        let row = find(&own, action, outcome);
        assert_eq!(row["reason"], reason, "{row}");
        assert_eq!(row["client_address"], "127.0.0.1", "{row}");
    }
    assert_eq!(find(&own, "session.refreshed", "failure")["request_id"], "audit-1");

    let refused = ada.get("/admin/audit").await.with_status(403);
    assert_eq!(refused.reason(), "ADMIN_REQUIRED");
    system.client.get("/admin/audit").await.with_status(401);

    // Nobody is known behind a token that is none, so only an operator sees the attempt.
    let operator = system.sign_in(OPERATOR).await;
    let all = rows(&operator.get("/admin/audit?page_size=200").await.with_status(200));
    for (action, reason) in
        [("session.refreshed", "REFRESH_TOKEN_INVALID"), ("magic_link.verified", "MAGIC_LINK_INVALID")]
    {
        let row = all.iter().find(|row| row["action"] == action && row["reason"] == reason);
        let row = row.unwrap_or_else(|| panic!("no row {action} {reason}: {all:?}"));
        assert_eq!((&row["outcome"], &row["user_id"]), (&json!("failure"), &Value::Null));
    }
    system.stop().await;
}

fn rows(answer: &Answer) -> Vec<Value> {
    answer.json()["events"].as_array().unwrap().clone()
}

fn find<'a>(rows: &'a [Value], action: &str, outcome: &str) -> &'a Value {
    let found = rows.iter().find(|row| row["action"] == action && row["outcome"] == outcome);
    found.unwrap_or_else(|| panic!("no row {action} {outcome}: {rows:?}"))
}
