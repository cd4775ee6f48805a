//! Bad input, and what must happen before any money moves.

use quire_testkit::Backend;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::customer::text;
use crate::samples;
use crate::system::System;

quire_testkit::on_both_databases!(
    a_source_that_cannot_be_used_is_refused_by_name,
    too_few_sources_are_told_before_any_payment,
    errors_of_http_itself_are_json_too,
);

/// Larger than the samples.
const MAX_BYTES: usize = 100_000;

async fn a_source_that_cannot_be_used_is_refused_by_name(backend: Backend) {
    let limit = MAX_BYTES.to_string();
    let system = System::start(backend, &[("QUIRE_SOURCE_MAX_BYTES", &limit)]).await;
    let ada = system.sign_in("ada@example.org").await;
    let id = ada.create_document(&json!({ "title": "On paper" })).await;
    let path = format!("/documents/{id}/sources");

    // Announced, not announced, and so little over the limit that only the service counts it.
    let text_of = |length: usize| "paper \n".repeat(length / 7 + 1).into_bytes()[..length].to_vec();
    ada.upload(&id, "large.txt", text_of(3 * MAX_BYTES)).await.with_status(413);
    let pieces = text_of(3 * MAX_BYTES).chunks(10_000).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let pieces = tokio_stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
    let streamed = Part::stream(Body::wrap_stream(pieces)).file_name("large.txt");
    let streamed = ada.request(Method::POST, &path).multipart(Form::new().part("file", streamed));
    Answer::to(streamed).await.with_status(413);
    let over = ada.upload(&id, "large.txt", text_of(MAX_BYTES + 1)).await.with_status(413);
    assert!(over.json()["detail"].as_str().unwrap().contains(&limit), "{}", over.text());

    let damaged = {
        let mut pdf = samples::read(samples::PDF);
        pdf.truncate(2000);
        pdf
    };
    for (name, bytes) in [
        ("broken.pdf", b"%PDF-1.7\nthis is no PDF at all".to_vec()),
        ("cut.pdf", damaged),
        ("not-a.pdf", b"plain text".to_vec()),
        ("broken.docx", b"PK\x03\x04 and then nothing".to_vec()),
        ("picture.png", b"\x89PNG\r\n\x1a\n".to_vec()),
        ("no-extension", b"text".to_vec()),
        ("empty.txt", Vec::new()),
        ("binary.txt", vec![0, 159, 146, 150, 0, 1, 2, 3]),
        ("blank.md", b" \n\n ".to_vec()),
    ] {
        let refused = ada.upload(&id, name, bytes).await.with_status(422).violation();
        assert_eq!(refused["loc"], json!(["body", "file"]), "{refused}");
        assert!(refused["msg"].as_str().unwrap().contains(name), "{refused}");
        assert_eq!(refused["input"], name);
    }
    let nameless = Form::new().part("other", Part::bytes(b"text".to_vec()).file_name("a.txt"));
    let nameless = Answer::to(ada.request(Method::POST, &path).multipart(nameless)).await.with_status(422);
    assert_eq!(
        (&nameless.violation()["type"], &nameless.violation()["loc"]),
        (&json!("missing"), &json!(["body", "file"]))
    );
    ada.post(&path, &json!({ "file": "a.txt" })).await.with_status(415);

    let sources = ada.get(&path).await.with_status(200).json();
    assert_eq!(sources, json!({ "sources": [], "max_pages": 0 }));

    // A good one goes in, once, and out again.
    let first = ada.upload(&id, samples::TEXT, samples::read(samples::TEXT)).await.with_status(201).json();
    let again = ada.upload(&id, samples::TEXT, samples::read(samples::TEXT)).await.with_status(201).json();
    assert_eq!(first, again);
    assert_eq!(first["size_bytes"], samples::read(samples::TEXT).len());
    let one = format!("{path}/{}", text(&first["id"]));
    ada.delete(&one).await.with_status(204);
    assert_eq!(ada.delete(&one).await.with_status(404).reason(), "SOURCE_NOT_FOUND");
    system.stop().await;
}

async fn too_few_sources_are_told_before_any_payment(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let id = ada.create_document(&json!({ "title": "On paper", "target_pages": 500 })).await;
    let chosen = json!({ "document_id": id });

    let bare = ada.post("/payment/create-checkout", &chosen).await.with_status(422).violation();
    assert_eq!(bare["loc"], json!(["body", "sources"]), "{bare}");

    ada.upload_sample(&id, samples::MARKDOWN).await;
    ada.upload_sample(&id, samples::TEXT).await;
    let sources = ada.get(&format!("/documents/{id}/sources")).await.with_status(200).json();
    let honest = sources["max_pages"].as_i64().unwrap();
    assert!((4..50).contains(&honest), "{honest} pages");

    let refused = ada.post("/payment/create-checkout", &chosen).await.with_status(422).violation();
    assert_eq!(
        (&refused["type"], &refused["loc"]),
        (&json!("less_than_equal"), &json!(["body", "target_pages"]))
    );
    assert_eq!(refused["ctx"], json!({ "le": honest }));
    let orders = ada.get("/payment/orders").await.with_status(200).json();
    assert_eq!(orders["orders"], json!([]), "an order was made of a document that cannot be delivered");
    assert_eq!(ada.document(&id).await["status"], "draft");

    // One more page than that is refused; exactly that many are delivered.
    let path = format!("/documents/{id}");
    ada.patch(&path, &json!({ "target_pages": honest + 1 })).await.with_status(200);
    ada.post("/payment/create-checkout", &chosen).await.with_status(422);
    ada.patch(&path, &json!({ "target_pages": honest })).await.with_status(200);
    ada.buy(&id).await;
    let document = ada.document(&id).await;
    let pdf = ada.export(&id, "pdf").await.with_status(200);
    let counted = i64::try_from(samples::pages_of(&pdf.body)).unwrap();
    assert_eq!(document["counted_pages"], counted);
    assert!((honest - 1..=honest).contains(&counted), "{counted} pages instead of {honest}");

    // Delivered, it stays as it is.
    ada.patch(&path, &json!({ "title": "Other" })).await.with_status(409);
    let more = ada.upload(&id, samples::DOCX, samples::read(samples::DOCX)).await.with_status(409);
    assert_eq!(more.reason(), "DOCUMENT_STATE");
    system.stop().await;
}

async fn errors_of_http_itself_are_json_too(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let client = &system.client;
    let ada = system.sign_in("ada@example.org").await;

    for path in ["/nowhere", "/documents/x/y/z", ""] {
        let lost = client.get(path).await.with_status(404);
        assert_eq!((lost.json(), lost.reason()), (json!({ "detail": "Not Found" }), "ROUTE_NOT_FOUND"));
    }
    // PostgreSQL refuses U+0000 in a text: to a client it is an id of nothing, like any other.
    for path in ["/documents/%00", "/documents/%00/sources", "/payment/orders/%00", "/jobs/%00"] {
        ada.get(path).await.with_status(404);
    }
    let nothing = json!({ "document_id": "a\u{0}" });
    ada.post("/payment/create-checkout", &nothing).await.with_status(422);
    ada.post("/generate/full-document", &nothing).await.with_status(404);
    let wrong = Answer::to(ada.request(Method::DELETE, "/documents")).await.with_status(405);
    assert_eq!(wrong.json(), json!({ "detail": "Method Not Allowed" }));
    let mut allowed: Vec<&str> = wrong.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);

    for token in [None, Some(""), Some("nonsense"), Some("a.b.c"), Some(ada.refresh.as_str())] {
        let request = client.request(Method::GET, "/documents");
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let refused = Answer::to(request).await.with_status(401);
        // RFC 6750 section 3.1: without a token there is no error to name.
        let sent = token.is_some_and(|token| !token.is_empty());
        let challenge = if sent { r#"Bearer error="invalid_token""# } else { "Bearer" };
        assert_eq!(refused.header("www-authenticate"), challenge);
        assert!(refused.json()["detail"].is_string());
    }
    let basic = Answer::to(client.request(Method::GET, "/documents").basic_auth("ada", Some("secret"))).await;
    assert_eq!(basic.with_status(401).reason(), "TOKEN_MISSING");

    let named =
        Answer::to(ada.request(Method::GET, "/nowhere").header("x-request-id", "a-name.of:mine")).await;
    assert_eq!(named.header("x-request-id"), "a-name.of:mine");
    let unusable = Answer::to(ada.request(Method::GET, "/auth/me").header("x-request-id", "two words")).await;
    let fresh = unusable.header("x-request-id");
    assert!(fresh.len() == 36 && fresh != client.get("/nowhere").await.header("x-request-id"), "{fresh}");
    assert_eq!(
        (unusable.header("x-content-type-options"), unusable.header("cache-control")),
        ("nosniff", "no-store")
    );

    let problem = ada.request(Method::GET, "/documents/nothing").header("accept", "application/problem+json");
    let problem = Answer::to(problem).await.with_status(404);
    assert_eq!(problem.header("content-type"), "application/problem+json");
    assert_eq!(problem.json()["reason"], "DOCUMENT_NOT_FOUND");

    for query in ["page_size=-1", "page_size=ten"] {
        let refused = ada.get(&format!("/documents?{query}")).await.with_status(422).violation();
        assert_eq!(refused["loc"], json!(["query", "page_size"]));
    }
    for list in ["/documents", "/jobs", "/payment/orders", "/auth/audit"] {
        let status = ada.get(&format!("{list}?page_token=nonsense!")).await.status.as_u16();
        assert!([400, 422].contains(&status), "{list}: {status}");
    }
    lists_come_in_pages(&system).await;

    let ready = Answer::to(client.anywhere(Method::GET, &format!("{}/readyz", client.gateway))).await;
    assert_eq!(ready.with_status(200).json()["status"], "ok");
    system.stop().await;
}

async fn lists_come_in_pages(system: &System) {
    let bob = system.sign_in("bob@example.org").await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.insert(0, bob.create_document(&json!({ "title": format!("Number {number}") })).await);
    }
    let mut seen: Vec<String> = Vec::new();
    let mut token = String::new();
    loop {
        let page =
            bob.get(&format!("/documents?page_size=2&page_token={token}")).await.with_status(200).json();
        let documents: &Vec<Value> = page["documents"].as_array().unwrap();
        assert!(documents.len() <= 2);
        seen.extend(documents.iter().map(|document| text(&document["id"])));
        token = text(&page["next_page_token"]);
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, made, "newest first, each once");
}
