//! Rate limits: by client, whatever the client says, and over all replicas.

use prost::Message;
use quire_clock::World;
use quire_identity::Role;
use quire_proto::auth::v1 as pb;
use reqwest::{Method, Response};
use serde_json::json;
use tokio::task::JoinSet;

use crate::door::{Door, header, json};
use crate::tokens;
use crate::upstream::{Behaviour, Upstream};

/// How many of `count` requests at once were let through, each with its own `X-Forwarded-For`.
async fn admitted(door: &Door, count: usize) -> usize {
    let mut requests = JoinSet::new();
    for number in 0..count {
        let forwarded = format!("203.0.113.{}", number % 250);
        let request = door.magic_link().header("x-forwarded-for", forwarded);
        requests.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let statuses = requests.join_all().await;
    assert!(statuses.iter().all(|status| [403, 429].contains(status)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 403).count()
}

#[tokio::test]
async fn a_client_cannot_choose_whom_it_is_counted_as() {
    let upstream = Upstream::start(Behaviour::Fail(7)).await;
    let door = Door::open(&upstream.url, "spoofed", &[]).await;
    assert_eq!(admitted(&door, 100).await, 5);
    assert_eq!(upstream.calls().len(), 5, "a request over the limit reached the service");

    let trusting = [("QUIRE_TRUSTED_PROXIES", "127.0.0.0/8")];
    let door = Door::open(&upstream.url, "proxied", &trusting).await;
    assert_eq!(admitted(&door, 100).await, 100, "behind a proxy that is trusted, clients are told apart");
}

#[tokio::test]
async fn replicas_share_one_count_in_redis() {
    let Some(redis) = quire_testkit::redis() else { return };
    let upstream = Upstream::start(Behaviour::Fail(7)).await;
    // A replica that waits for Redis too long counts by itself, which on a busy machine may happen. Without a
    // shared count, the other replica would never refuse its first request.
    for _ in 0..10 {
        // Keys in Redis are made with the secret: nobody else counts under this one.
        let secret = World::system().id();
        let one = Door::open(&upstream.url, &secret, &[("REDIS_URL", redis)]).await;
        let two = Door::open(&upstream.url, &secret, &[("REDIS_URL", redis)]).await;
        for _ in 0..5 {
            assert_eq!(one.magic_link().send().await.unwrap().status(), 403);
        }
        if two.magic_link().send().await.unwrap().status() == 429 {
            return;
        }
    }
    panic!("each replica counts by itself");
}

async fn refresh(door: &Door, token: &str, address: &str) -> Response {
    let request = door.request(Method::POST, "/api/v1/auth/refresh").json(&json!({ "refresh_token": token }));
    request.header("x-forwarded-for", address).send().await.unwrap()
}

#[tokio::test]
async fn a_refused_request_names_the_limits_that_refused_it() {
    let upstream = Upstream::start(Behaviour::Fail(7)).await;
    let settings = [("QUIRE_LIMIT_MAGIC_LINK", "1/minute, 1/hour, 1/day shadow")];
    let door = Door::open(&upstream.url, "named", &settings).await;
    assert_eq!(door.magic_link().send().await.unwrap().status(), 403);
    let answer = door.magic_link().send().await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(
        header(&answer, "ratelimit-policy"),
        r#""magic_link-minute";q=1;w=60, "magic_link-hour";q=1;w=3600"#
    );
    assert!(header(&answer, "ratelimit").starts_with(r#""magic_link-hour";r=0;t="#));
    assert!(header(&answer, "retry-after").parse::<u32>().unwrap() > 3500);
    let message = "too many requests: the limits magic_link-minute and magic_link-hour are used up";
    assert_eq!(json(answer).await, json!({ "detail": message }));
    let problem = door.magic_link().header("accept", "application/problem+json").send().await.unwrap();
    assert_eq!(json(problem).await["violated-policies"], json!(["magic_link-minute", "magic_link-hour"]));
}

#[tokio::test]
async fn a_session_is_renewed_only_so_often_from_wherever_it_is() {
    let upstream = Upstream::with(tokens::auth()).await;
    let settings =
        [("QUIRE_TRUSTED_PROXIES", "127.0.0.1"), ("QUIRE_LIMIT_REFRESH", "3/minute, 2/minute by session")];
    let door = Door::open(&upstream.url, "renewed", &settings).await;
    let token = tokens::refresh("s1");
    assert_eq!(refresh(&door, &token, "203.0.113.1").await.status(), 403);
    assert_eq!(refresh(&door, &token, "203.0.113.2").await.status(), 403);
    let answer = refresh(&door, &token, "203.0.113.3").await;
    assert_eq!(answer.status(), 429);
    assert!(header(&answer, "ratelimit").starts_with(r#""refresh-session-minute";r=0;"#));
    assert_eq!(refresh(&door, &tokens::refresh("s2"), "203.0.113.3").await.status(), 403);
    // A token that is not genuine names no session.
    let forged = format!("{}A", tokens::refresh("s3"));
    for number in 0..3 {
        assert_eq!(refresh(&door, &forged, &format!("203.0.113.1{number}")).await.status(), 403);
    }
    assert_eq!(upstream.calls().len(), 6);
}

#[tokio::test]
async fn a_renewal_without_a_token_counts_by_address() {
    let upstream = Upstream::start(Behaviour::Fail(7)).await;
    let door = Door::open(&upstream.url, "tokenless", &[("QUIRE_LIMIT_REFRESH", "1/minute")]).await;
    let post = || door.request(Method::POST, "/api/v1/auth/refresh").json(&json!({})).send();
    assert_eq!(post().await.unwrap().status(), 422);
    assert_eq!(post().await.unwrap().status(), 429);
}

/// The routes of sign-in, with a body that auth is asked about.
fn sign_in_routes() -> [(&'static str, &'static str, serde_json::Value); 3] {
    [
        ("magic-link", "QUIRE_LIMIT_MAGIC_LINK", json!({ "email": "ada@example.org" })),
        ("verify-magic-link", "QUIRE_LIMIT_VERIFY", json!({ "token": "t" })),
        ("refresh", "QUIRE_LIMIT_REFRESH", json!({ "refresh_token": "t" })),
    ]
}

#[tokio::test]
async fn rubbish_counts_as_much_as_sense() {
    let upstream = Upstream::start(Behaviour::Fail(16)).await;
    let rubbish: [(&str, Vec<u8>, u16); 5] = [
        ("application/json", b"{\"email\": ".to_vec(), 422),
        ("application/json", b"[1]".to_vec(), 422),
        ("application/json", Vec::new(), 422),
        ("application/json", vec![b'1'; 70_000], 413),
        ("text/plain", b"nonsense".to_vec(), 415),
    ];
    for (route, setting, _) in sign_in_routes() {
        let door = Door::open(&upstream.url, "rubbish", &[(setting, "5/hour")]).await;
        let send = |(media_type, body, _): &(&str, Vec<u8>, u16)| {
            let request = door.request(Method::POST, &format!("/api/v1/auth/{route}"));
            request.header("content-type", *media_type).body(body.clone()).send()
        };
        for (left, kind) in (0..5).rev().zip(&rubbish) {
            let answer = send(kind).await.unwrap();
            assert_eq!(answer.status(), kind.2, "{route}");
            let shown = header(&answer, "ratelimit");
            assert!(shown.contains(&format!(";r={left};")), "{route}: {shown:?}");
        }
        for kind in &rubbish {
            assert_eq!(send(kind).await.unwrap().status(), 429, "{route}");
        }
    }
    assert!(upstream.calls().is_empty());
}

#[tokio::test]
async fn a_refused_sign_in_tells_how_much_of_the_limit_is_left() {
    let upstream = Upstream::start(Behaviour::Fail(16)).await;
    for (route, setting, body) in sign_in_routes() {
        let door = Door::open(&upstream.url, "told", &[(setting, "5/hour")]).await;
        let request = door.request(Method::POST, &format!("/api/v1/auth/{route}"));
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{route}");
        assert!(header(&answer, "ratelimit-policy").contains(";q=5;w=3600"), "{route}: {answer:?}");
        assert!(header(&answer, "ratelimit").contains(";r=4;"), "{route}: {answer:?}");
    }
}

#[tokio::test]
async fn a_checkout_shows_its_own_limit_even_if_it_fails() {
    let upstream = Upstream::with(tokens::auth()).await;
    let door = Door::open(&upstream.url, "checkout", &[("QUIRE_LIMIT_CHECKOUT", "2/hour")]).await;
    let ada = tokens::access("ada", Role::User);
    let checkout = |body: &'static str| {
        let request = door.request(Method::POST, "/api/v1/payment/create-checkout").bearer_auth(&ada);
        request.header("content-type", "application/json").body(body).send()
    };
    for (left, body, status) in [(1, "{\"document_id\": \"d\"}", 403), (0, "{", 422)] {
        let answer = checkout(body).await.unwrap();
        assert_eq!(answer.status(), status);
        let shown = header(&answer, "ratelimit");
        assert!(shown.starts_with(&format!("\"checkout-hour\";r={left};")), "{shown}");
    }
    assert_eq!(checkout("{").await.unwrap().status(), 429);
}

#[tokio::test]
async fn every_signed_in_request_counts_once_by_user() {
    let upstream = Upstream::with(tokens::auth()).await;
    let door = Door::open(&upstream.url, "api", &[("QUIRE_LIMIT_API", "60/hour burst 3")]).await;
    let ada = tokens::access("ada", Role::User);
    let get = |token: &str, path: &str| door.request(Method::GET, path).bearer_auth(token).send();
    for left in [2, 1, 0] {
        let answer = get(&ada, "/api/v1/auth/me").await.unwrap();
        assert_eq!(answer.status(), 403);
        assert!(header(&answer, "ratelimit").starts_with(&format!(r#""api-hour";r={left};t="#)));
    }
    let answer = get(&ada, "/api/v1/jobs").await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "retry-after").as_str()), (429, "60"));
    assert_eq!(upstream.calls().len(), 3);
    let bob = tokens::access("bob", Role::User);
    assert_eq!(get(&bob, "/api/v1/jobs").await.unwrap().status(), 403, "others are counted apart");
    let anonymous = door.request(Method::GET, "/api/v1/pricing/current").send().await.unwrap();
    assert_eq!(header(&anonymous, "ratelimit"), "");
}

#[tokio::test]
async fn operators_see_what_is_used_up_and_use_nothing_up() {
    let mut answers = tokens::auth();
    let state = pb::LimitState {
        policy: "mail-minute".to_owned(),
        by: "mailbox".to_owned(),
        next_call_millis: 1500,
        ..Default::default()
    };
    let mail = pb::ExplainMailLimitResponse { source: "local".to_owned(), policies: vec![state] };
    answers.insert("ExplainMailLimit", mail.encode_to_vec());
    let upstream = Upstream::with(answers).await;
    let settings = [("QUIRE_TRUSTED_PROXIES", "127.0.0.1")];
    let door = Door::open(&upstream.url, "explain", &settings).await;
    let operator = tokens::access("operator", Role::Admin);
    let explain = async |query: &str| {
        let path = format!("/api/v1/admin/limits?{query}");
        let answer = door.request(Method::GET, &path).bearer_auth(&operator).send().await.unwrap();
        (answer.status().as_u16(), json(answer).await)
    };

    door.magic_link().header("x-forwarded-for", "2001:db8:1:2::1").send().await.unwrap();
    for _ in 0..2 {
        // Another address of the same network.
        let (status, answer) = explain("route=magic_link&address=2001:db8:1:2:9::9").await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!((&answer["route"], &answer["source"]), (&json!("magic_link"), &json!("local")));
        let policy = &answer["policies"][0];
        assert_eq!(policy["policy"], "magic_link-minute");
        assert_eq!((&policy["by"], &policy["quota"]), (&json!("address"), &json!(5)));
        assert_eq!((&policy["remaining"], &policy["next_call_seconds"]), (&json!(4), &json!(0.0)));
        assert!(policy["reset_seconds"].as_f64().unwrap() > 5.0 && policy["arrival"].is_string(), "{policy}");
    }
    let (_, unused) = explain("route=magic_link&address=203.0.113.7").await;
    assert_eq!(
        (&unused["policies"][0]["remaining"], &unused["policies"][0]["arrival"]),
        (&json!(5), &json!(null))
    );
    let (_, mine) = explain("route=api&user=operator").await;
    assert_ne!(mine["policies"][0]["remaining"], 240);
    let (_, both) = explain("route=refresh&address=203.0.113.7&session=s").await;
    assert_eq!(both["policies"].as_array().unwrap().len(), 3);

    let (status, mail) = explain("route=mail&email=ada@example.org").await;
    assert_eq!((status, &mail["policies"][0]["next_call_seconds"]), (200, &json!(1.5)));
    let call = upstream.calls().pop().unwrap();
    assert_eq!(call.header("authorization"), format!("Bearer {operator}"));

    for (query, field, accepted) in [
        ("", "route", "'magic_link', 'verify', 'refresh', 'checkout', 'api' or 'mail'"),
        ("route=nonsense", "route", "'mail'"),
        ("route=verify", "address", "counted by address"),
        ("route=refresh&user=ada", "address", "counted by address and by session"),
        ("route=checkout&address=203.0.113.7", "user", "counted by user"),
        ("route=verify&address=nonsense", "address", "an IPv4 or IPv6 address"),
        ("route=mail", "email", "e-mail address"),
    ] {
        let (status, answer) = explain(query).await;
        assert_eq!(status, 422, "{query}");
        assert_eq!(answer["detail"][0]["loc"], json!(["query", field]), "{query}");
        assert!(answer["detail"][0]["msg"].as_str().unwrap().contains(accepted), "{query}: {answer}");
    }

    let ada = tokens::access("ada", Role::User);
    let path = "/api/v1/admin/limits?route=api&user=operator";
    let answer = door.request(Method::GET, path).bearer_auth(ada).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "x-quire-reason").as_str()),
        (403, "ADMIN_REQUIRED")
    );
}
