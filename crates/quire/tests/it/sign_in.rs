//! Sign-in over HTTP: links that scanners cannot burn, codes, sessions, operators.

use quire_testkit::Backend;
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::customer::text;
use crate::system::{OPERATOR, System};

quire_testkit::on_both_databases!(
    a_mail_scanner_neither_burns_nor_gets_anything,
    the_cookie_of_the_browser_that_asked_is_enough,
    a_code_typed_where_the_link_was_asked_for_signs_in,
    a_body_without_or_with_both_proofs_is_told_so,
    sessions_are_named_renamed_and_revoked,
    operators_block_find_and_read,
    the_published_keys_verify_tokens,
);

async fn a_mail_scanner_neither_burns_nor_gets_anything(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let client = &system.client;
    let link = client.magic_link("ada@example.org").await;
    for method in [Method::GET, Method::HEAD, Method::GET, Method::HEAD, Method::GET] {
        let page = client.anywhere(method, &format!("{}/sign-in?utm=scanner", client.gateway));
        Answer::to(page).await.with_status(200);
    }
    let scanner = json!({ "token": link["token"] });
    let without = client.post("/auth/verify-magic-link", &scanner).await.with_status(401);
    let guessed = json!({ "token": link["token"], "verifier": "A".repeat(43) });
    let guessed = client.post("/auth/verify-magic-link", &guessed).await.with_status(401);
    let unknown = json!({ "token": "unknown", "verifier": link["verifier"] });
    let unknown = client.post("/auth/verify-magic-link", &unknown).await.with_status(401);
    assert_eq!(without.body, guessed.body);
    assert_eq!(without.body, unknown.body, "one answer for all failures");
    client.post("/auth/verify-magic-link", &link).await.with_status(200);
    system.stop().await;
}

async fn the_cookie_of_the_browser_that_asked_is_enough(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let client = &system.client;
    let asked = client.post("/auth/magic-link", &json!({ "email": "bob@example.org" })).await;
    let cookie = asked.header("set-cookie").to_owned();
    for part in ["quire_sign_in=", "HttpOnly", "SameSite=Lax", "Path=/api/v1/auth", "Max-Age=900"] {
        assert!(cookie.contains(part), "{part} is not in the cookie");
    }
    let kept = cookie.split(';').next().unwrap().to_owned();
    let (_, mail) =
        client.magic_mail_with("ada@example.org", |request| request.header("cookie", &kept)).await;
    let token = crate::mailbox::token(&mail);
    let request = client.request(Method::POST, "/auth/verify-magic-link").header("cookie", &kept);
    let verified = Answer::to(request.json(&json!({ "token": token }))).await.with_status(200);
    assert!(verified.header("set-cookie").contains("Max-Age=0"), "{:?}", verified.headers);
    system.stop().await;
}

async fn a_code_typed_where_the_link_was_asked_for_signs_in(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let (link, mail) = system.client.magic_mail("ada@example.org").await;
    let code = crate::mailbox::code(&mail);
    let verify = async |body: Value| system.client.post("/auth/verify-magic-link", &body).await;
    verify(json!({ "code": code })).await.with_status(401);
    verify(json!({ "code": "0000-0000", "verifier": link["verifier"] })).await.with_status(401);
    let typed = json!({ "code": code.to_lowercase(), "verifier": link["verifier"] });
    assert_eq!(verify(typed.clone()).await.with_status(200).json()["user"]["email"], "ada@example.org");
    verify(typed).await.with_status(401);
    verify(link).await.with_status(401);
    system.stop().await;
}

async fn a_body_without_or_with_both_proofs_is_told_so(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let client = &system.client;
    for body in [json!({}), json!({ "token": "a", "code": "b" }), json!({ "verifier": "x" })] {
        let violations = client.post("/auth/verify-magic-link", &body).await.with_status(422).violations();
        assert!(
            violations.iter().all(|one| ["token", "code"].contains(&one["loc"][1].as_str().unwrap())),
            "{violations:?}"
        );
    }
    for email in ["", "nobody", "ada@example.org\r\nBcc: eve@example.org"] {
        let refused = client.post("/auth/magic-link", &json!({ "email": email })).await.with_status(422);
        assert_eq!(refused.violation()["loc"], json!(["body", "email"]));
    }
    system.stop().await;
}

async fn sessions_are_named_renamed_and_revoked(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let (ada, phone) = (system.sign_in("ada@example.org").await, system.sign_in("ada@example.org").await);
    let sessions = ada.get("/auth/sessions").await.with_status(200).json();
    let sessions = sessions["sessions"].as_array().unwrap().clone();
    assert_eq!(sessions.len(), 2);
    assert!(sessions.iter().all(|session| !text(&session["name"]).is_empty()), "{sessions:?}");
    let other = sessions.iter().find(|session| session["current"] == false).unwrap();
    let path = format!("/auth/sessions/{}", text(&other["id"]));
    assert_eq!(ada.patch(&path, &json!({ "name": "Phone" })).await.with_status(200).json()["name"], "Phone");
    ada.patch(&path, &json!({ "name": "" })).await.with_status(422);
    ada.patch("/auth/sessions/unknown", &json!({ "name": "x" })).await.with_status(404);
    ada.delete(&path).await.with_status(204);
    ada.delete(&path).await.with_status(204);
    phone.get("/auth/me").await.with_status(401);
    system.client.refresh(&phone.refresh).await.with_status(401);
    for _ in 0..2 {
        system.sign_in("ada@example.org").await;
    }
    assert_eq!(ada.delete("/auth/sessions").await.with_status(200).json()["revoked"], 2);
    ada.get("/auth/me").await.with_status(200);
    system.stop().await;
}

async fn operators_block_find_and_read(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let (ada, root) = (system.sign_in("ada@example.org").await, system.sign_in(OPERATOR).await);
    ada.get("/admin/users").await.with_status(403);
    ada.post(&format!("/admin/users/{}/block", root.id), &json!({})).await.with_status(403);
    let found = root.get("/admin/users?email=Ada@example.org").await.with_status(200).json();
    assert_eq!(found["users"][0]["id"], ada.id.as_str());
    assert_eq!(found["users"][0]["blocked"], false);
    let path = format!("/admin/users/{}", ada.id);
    let blocked = root.post(&format!("{path}/block"), &json!({})).await.with_status(200).json();
    assert_eq!(blocked["blocked"], true);
    assert_eq!(ada.get("/auth/me").await.with_status(403).reason(), "USER_BLOCKED");
    let link = system.client.magic_link("ada@example.org").await;
    let refused = system.client.post("/auth/verify-magic-link", &link).await.with_status(403);
    assert_eq!(refused.reason(), "USER_BLOCKED");
    root.post(&format!("/admin/users/{}/block", root.id), &json!({})).await.with_status(409);
    root.post("/admin/users/nobody/block", &json!({})).await.with_status(404);
    root.post(&format!("{path}/unblock"), &json!({})).await.with_status(200);
    system.sign_in("ada@example.org").await.get("/auth/me").await.with_status(200);

    let query = format!("/admin/audit?action=user.&user_id={}", ada.id);
    let events = root.get(&query).await.with_status(200).json()["events"].as_array().unwrap().clone();
    let actions: Vec<_> = events.iter().map(|event| text(&event["action"])).collect();
    assert_eq!(actions, ["user.unblocked", "user.blocked"]);
    assert!(events.iter().all(|event| event["actor_id"] == root.id.as_str()), "{events:?}");
    let wrong = root.get("/admin/audit?since=yesterday").await.with_status(422).violation();
    assert_eq!(wrong["loc"], json!(["query", "since"]));
    system.stop().await;
}

async fn the_published_keys_verify_tokens(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let url = format!("{}/.well-known/jwks.json", system.client.gateway);
    let answer = Answer::to(system.client.anywhere(Method::GET, &url)).await.with_status(200);
    assert_eq!(answer.header("cache-control"), "public, max-age=600");
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_slice(&answer.body).unwrap();
    let header = jsonwebtoken::decode_header(&ada.access).unwrap();
    let key = keys.find(header.kid.as_deref().unwrap()).expect("the key of the token is published");
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_audience(&["quire-api"]);
    let key = jsonwebtoken::DecodingKey::from_jwk(key).unwrap();
    let claims = jsonwebtoken::decode::<Value>(&ada.access, &key, &validation).unwrap().claims;
    assert_eq!(claims["sub"], ada.id.as_str());
    assert!(!answer.text().contains("\"d\""), "no private part");
    system.stop().await;
}
