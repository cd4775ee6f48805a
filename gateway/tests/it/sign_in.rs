//! Sign-in: the cookie that binds a link to a browser, and what auth is asked.

use prost::Message;
use quire_proto::auth::v1 as pb;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::door::{Door, header, json};
use crate::upstream::{Answers, Behaviour, Upstream};

const VERIFIER: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN-_0";
const OTHER: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

fn answers() -> Answers {
    let requested = pb::RequestMagicLinkResponse { expires_in_seconds: 600, verifier: VERIFIER.to_owned() };
    let verified = pb::VerifyMagicLinkResponse {
        tokens: Some(pb::TokenPair { access_token: "access".to_owned(), ..Default::default() }),
        user: Some(pb::User { id: "ada".to_owned(), ..Default::default() }),
    };
    Answers::from([
        ("RequestMagicLink", requested.encode_to_vec()),
        ("VerifyMagicLink", verified.encode_to_vec()),
    ])
}

async fn post(door: &Door, path: &str, cookie: &str, body: &Value) -> Response {
    let request = door.request(Method::POST, &format!("/api/v1/auth/{path}"));
    request.header("cookie", cookie).json(body).send().await.unwrap()
}

/// The verifier of the last call, and the whole of a verify call.
fn asked(upstream: &Upstream) -> pb::RequestMagicLinkRequest {
    upstream.calls().last().unwrap().message()
}

fn proved(upstream: &Upstream) -> pb::VerifyMagicLinkRequest {
    upstream.calls().last().unwrap().message()
}

#[tokio::test]
async fn the_browser_that_asks_for_a_link_keeps_its_verifier() {
    let upstream = Upstream::with(answers()).await;
    let door = Door::open(&upstream.url, "cookie", &[]).await;
    let email = json!({ "email": "ada@example.org" });
    let answer = post(&door, "magic-link", "", &email).await;
    assert_eq!(answer.status(), 202);
    assert_eq!(
        header(&answer, "set-cookie"),
        format!("quire_sign_in={VERIFIER}; HttpOnly; SameSite=Lax; Path=/api/v1/auth; Max-Age=600")
    );
    let body = json(answer).await;
    assert_eq!((&body["expires_in"], &body["verifier"]), (&json!(600), &json!(VERIFIER)));
    assert_eq!(asked(&upstream).verifier, "");

    post(&door, "magic-link", &format!("a=b; quire_sign_in={OTHER}"), &email).await;
    assert_eq!(asked(&upstream).verifier, OTHER);
    post(&door, "magic-link", "quire_sign_in=no verifier", &email).await;
    assert_eq!(asked(&upstream).verifier, "");
    let given = json!({ "email": "ada@example.org", "verifier": VERIFIER });
    post(&door, "magic-link", &format!("quire_sign_in={OTHER}"), &given).await;
    assert_eq!(asked(&upstream).verifier, VERIFIER);
}

#[tokio::test]
async fn under_https_the_cookie_never_travels_without() {
    let upstream = Upstream::with(answers()).await;
    let settings = [("QUIRE_PUBLIC_URL", "https://quire.example")];
    let door = Door::open(&upstream.url, "secure", &settings).await;
    let answer = door.magic_link().send().await.unwrap();
    assert!(header(&answer, "set-cookie").ends_with("; Max-Age=600; Secure"));
}

#[tokio::test]
async fn a_link_or_a_code_goes_with_the_verifier() {
    let upstream = Upstream::with(answers()).await;
    let door = Door::open(&upstream.url, "verify", &[]).await;
    let cookie = format!("quire_sign_in={VERIFIER}");
    let answer = post(&door, "verify-magic-link", &cookie, &json!({ "token": "t" })).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        header(&answer, "set-cookie"),
        "quire_sign_in=; HttpOnly; SameSite=Lax; Path=/api/v1/auth; Max-Age=0"
    );
    let body = json(answer).await;
    assert_eq!(body["access_token"], "access");
    assert_eq!((&body["user"]["blocked"], &body["user"]["last_sign_in_at"]), (&json!(false), &Value::Null));
    let verifier = VERIFIER.to_owned();
    let proof = proved(&upstream);
    assert_eq!((proof.token.as_str(), proof.code.as_str(), proof.verifier), ("t", "", verifier));

    let body = json!({ "code": "ABCD-EFGH", "verifier": OTHER });
    post(&door, "verify-magic-link", &cookie, &body).await;
    let proof = proved(&upstream);
    assert_eq!((proof.code.as_str(), proof.verifier.as_str()), ("ABCD-EFGH", OTHER));

    post(&door, "verify-magic-link", "", &json!({ "token": "t" })).await;
    assert_eq!(proved(&upstream).verifier, "", "auth answers as to any other wrong verifier");
}

#[tokio::test]
async fn exactly_one_of_token_and_code_is_taken() {
    let upstream = Upstream::with(answers()).await;
    let door = Door::open(&upstream.url, "either", &[]).await;
    for (body, field) in
        [(json!({ "verifier": VERIFIER }), "token"), (json!({ "token": "t", "code": "c" }), "code")]
    {
        let answer = post(&door, "verify-magic-link", "", &body).await;
        assert_eq!(answer.status(), 422);
        let answer = json(answer).await;
        assert_eq!(answer["detail"][0]["loc"], json!(["body", field]), "{answer}");
    }
    assert!(upstream.calls().is_empty());
}

#[tokio::test]
async fn a_refused_sign_in_keeps_the_cookie_and_says_what_401_means() {
    let upstream = Upstream::start(Behaviour::Fail(16)).await;
    let door = Door::open(&upstream.url, "refused", &[]).await;
    let answer = post(&door, "verify-magic-link", "", &json!({ "token": "t" })).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(header(&answer, "set-cookie"), "");
    assert_eq!(header(&answer, "www-authenticate"), r#"Bearer error="invalid_token""#);
}

#[tokio::test]
async fn opening_the_page_of_a_link_asks_nobody() {
    let upstream = Upstream::with(answers()).await;
    let door = Door::open(&upstream.url, "page", &[]).await;
    let page = door.request(Method::GET, "/sign-in").send().await.unwrap();
    let policy = header(&page, "content-security-policy");
    assert!(policy.contains("script-src 'self'") && policy.contains("form-action 'none'"), "{policy}");
    let script = door.request(Method::GET, "/sign-in.js").send().await.unwrap();
    assert_eq!((page.status().as_u16(), script.status().as_u16()), (200, 200));
    assert_eq!(door.request(Method::HEAD, "/sign-in").send().await.unwrap().status(), 200);
    assert!(upstream.calls().is_empty());
}
