//! How many pages may be ordered, and how every mistake in a request is told.

use quire_testkit::Backend;
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::customer::Customer;
use crate::system::System;

quire_testkit::on_both_databases!(
    with_a_bound_of_one_a_page_is_enough,
    without_settings_three_pages_are_the_least,
    every_mistake_is_told_at_once,
    a_body_that_is_no_json_object_is_told_where_it_breaks,
    who_may_step_in_for_the_writer_is_chosen_and_changed,
);

async fn create(customer: &Customer, spec: &Value) -> Answer {
    customer.post("/documents", spec).await
}

async fn with_pages(customer: &Customer, pages: Value) -> Answer {
    create(customer, &json!({ "title": "On paper", "target_pages": pages })).await
}

/// The violation of a page count.
fn broken(kind: &str, message: &str, input: Value, context: Option<Value>) -> Value {
    let mut broken = json!({ "type": kind, "loc": ["body", "target_pages"], "msg": message, "input": input });
    if let Some(context) = context {
        broken["ctx"] = context;
    }
    broken
}

async fn with_a_bound_of_one_a_page_is_enough(backend: Backend) {
    let system = System::start(backend, &[("QUIRE_PAGES_MIN", "1")]).await;
    let ada = system.sign_in("ada@example.org").await;
    for pages in [1, 3, 50, 1000] {
        let created = with_pages(&ada, json!(pages)).await.with_status(201);
        let document = created.json();
        assert_eq!(document["target_pages"], pages);
        assert_eq!(document["status"], "draft");
        let location = format!("/api/v1/documents/{}", document["id"].as_str().unwrap());
        assert_eq!(created.header("location"), location);
        assert_eq!(ada.document(document["id"].as_str().unwrap()).await, document);
    }
    for pages in [0, -5, i32::MIN] {
        let message = "Input should be greater than or equal to 1";
        let expected = broken("greater_than_equal", message, json!(pages), Some(json!({ "ge": 1 })));
        assert_eq!(with_pages(&ada, json!(pages)).await.with_status(422).violation(), expected);
    }
    for pages in [1001, 4_000_000_000_i64] {
        let message = "Input should be less than or equal to 1000";
        let expected = broken("less_than_equal", message, json!(pages), Some(json!({ "le": 1000 })));
        assert_eq!(with_pages(&ada, json!(pages)).await.with_status(422).violation(), expected);
    }
    let usual = create(&ada, &json!({ "title": "On paper" })).await.with_status(201).json();
    assert_eq!((&usual["target_pages"], &usual["kind"]), (&json!(50), &json!("document")));
    let price = system.client.get("/pricing/current").await.with_status(200).json();
    assert_eq!((&price["min_pages"], &price["max_pages"]), (&json!(1), &json!(1000)));
    system.stop().await;
}

async fn without_settings_three_pages_are_the_least(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let refused = with_pages(&ada, json!(2)).await.with_status(422);
    let expected = json!({ "detail": [{
        "type": "greater_than_equal",
        "loc": ["body", "target_pages"],
        "msg": "Input should be greater than or equal to 3",
        "input": 2,
        "ctx": { "ge": 3 },
    }] });
    assert_eq!(refused.json(), expected);
    assert_eq!(refused.reason(), "VALIDATION_FAILED");
    with_pages(&ada, json!(3)).await.with_status(201);
    with_pages(&ada, json!(1000)).await.with_status(201);
    with_pages(&ada, json!(1001)).await.with_status(422);

    let section = |pages: i32| json!({ "title": "On paper", "kind": "section", "target_pages": pages });
    for pages in [1, 2, 100] {
        create(&ada, &section(pages)).await.with_status(201);
    }
    for (pages, kind, message, context) in [
        (0, "greater_than_equal", "Input should be greater than or equal to 1", json!({ "ge": 1 })),
        (101, "less_than_equal", "Input should be less than or equal to 100", json!({ "le": 100 })),
    ] {
        let refused = create(&ada, &section(pages)).await.with_status(422).violation();
        assert_eq!(refused, broken(kind, message, json!(pages), Some(context)));
    }

    // A change keeps the same rule.
    let id = ada.create_document(&json!({ "title": "On paper", "target_pages": 12 })).await;
    let path = format!("/documents/{id}");
    let refused = ada.patch(&path, &json!({ "target_pages": 2 })).await.with_status(422);
    assert_eq!(refused.json(), expected);
    assert_eq!(ada.document(&id).await["target_pages"], 12);
    assert_eq!(
        ada.patch(&path, &json!({ "target_pages": 3 })).await.with_status(200).json()["target_pages"],
        3
    );

    // The price comes by query parameter.
    let price = system.client.get("/pricing/calculate?pages=12").await.with_status(200).json();
    assert_eq!(price["total"], json!({ "amount_minor": 600, "currency": "EUR" }));
    // A section may have two.
    let price = system.client.get("/pricing/calculate?pages=2").await.with_status(200).json();
    assert_eq!(price["total"]["amount_minor"], 100);
    let refused = system.client.get("/pricing/calculate?pages=0").await.with_status(422).violation();
    assert_eq!((&refused["loc"], &refused["ctx"]), (&json!(["query", "pages"]), &json!({ "ge": 1 })));
    let refused = system.client.get("/pricing/calculate?pages=two").await.with_status(422).violation();
    assert_eq!((&refused["loc"], &refused["type"]), (&json!(["query", "pages"]), &json!("int_parsing")));
    let refused = system.client.get("/pricing/calculate").await.with_status(422).violation();
    assert_eq!((&refused["loc"], &refused["type"]), (&json!(["query", "pages"]), &json!("missing")));
    system.stop().await;
}

async fn every_mistake_is_told_at_once(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;

    // One of the wrong type, which only the gateway sees, and two out of range, which only the service sees.
    let spec = json!({ "title": 5, "language": "xx", "target_pages": 2, "topic": "paper" });
    let refused = create(&ada, &spec).await.with_status(422).violations();
    let told: Vec<_> = refused.iter().map(|violation| (&violation["loc"][1], &violation["type"])).collect();
    let expected = [
        (&json!("title"), &json!("string_type")),
        (&json!("language"), &json!("enum")),
        (&json!("target_pages"), &json!("greater_than_equal")),
    ];
    assert_eq!(told, expected, "{refused:?}");
    assert_eq!(refused[0]["input"], 5);
    assert_eq!(refused[0]["msg"], "Input should be a valid string");
    assert_eq!(refused[2]["input"], 2);

    let missing = create(&ada, &json!({ "target_pages": 1001 })).await.with_status(422).violations();
    assert_eq!(missing[0]["type"], "missing");
    assert_eq!(missing[0]["loc"], json!(["body", "title"]));
    assert_eq!(missing[0]["msg"], "Field required");
    assert_eq!(missing[0]["input"], json!({ "target_pages": 1001 }));
    assert_eq!(missing[1]["ctx"], json!({ "le": 1000 }));
    assert_eq!(missing.len(), 2);

    for (pages, kind, message) in [
        (
            json!("abc"),
            "int_parsing",
            "Input should be a valid integer, unable to parse string as an integer",
        ),
        (json!(null), "int_type", "Input should be a valid integer"),
        (json!([3]), "int_type", "Input should be a valid integer"),
        (
            json!(3.5),
            "int_from_float",
            "Input should be a valid integer, got a number with a fractional part",
        ),
    ] {
        let refused = with_pages(&ada, pages.clone()).await.with_status(422).violation();
        assert_eq!(refused, broken(kind, message, pages, None));
    }
    // As pydantic reads them.
    assert_eq!(with_pages(&ada, json!("12")).await.with_status(201).json()["target_pages"], 12);
    assert_eq!(with_pages(&ada, json!(12.0)).await.with_status(201).json()["target_pages"], 12);

    let long = json!({ "title": "x".repeat(201), "kind": "novel", "writer": "ghost" });
    let refused = create(&ada, &long).await.with_status(422).violations();
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert_eq!(refused[0]["msg"], "String should have at most 200 characters");
    assert_eq!(refused[1]["msg"], "Input should be 'document' or 'section'");

    // Nothing of it was kept, and drafts of the two good ones are there.
    let documents = ada.get("/documents").await.with_status(200).json();
    assert_eq!(documents["documents"].as_array().unwrap().len(), 2);
    assert_eq!(documents["next_page_token"], "");

    let request =
        ada.request(Method::POST, "/documents").json(&json!({ "title": "On paper", "target_pages": 2 }));
    let request = request.header("accept", "application/problem+json").header("x-request-id", "problem-1");
    let problem = Answer::to(request).await.with_status(422);
    assert_eq!(problem.header("content-type"), "application/problem+json");
    let problem = problem.json();
    assert_eq!(problem["type"], "urn:quire:problem:validation_failed");
    assert_eq!((&problem["status"], &problem["title"]), (&json!(422), &json!("Unprocessable Entity")));
    assert!(problem["detail"].is_string(), "{problem}");
    assert_eq!(problem["request_id"], "problem-1");
    assert_eq!(problem["errors"][0]["ctx"], json!({ "ge": 3 }));
    system.stop().await;
}

async fn a_body_that_is_no_json_object_is_told_where_it_breaks(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let post = |kind: &'static str, body: Vec<u8>| {
        Answer::to(ada.request(Method::POST, "/documents").header("content-type", kind).body(body))
    };
    const JSON: &str = "application/json";

    let broken = post(JSON, br#"{"title": }"#.to_vec()).await.with_status(422).violation();
    assert_eq!((&broken["type"], &broken["loc"]), (&json!("json_invalid"), &json!(["body", 10])));
    assert_eq!(broken["msg"], "JSON decode error");
    assert!(broken["ctx"]["error"].is_string(), "{broken}");
    let cut = post(JSON, br#"{"title": "On pa"#.to_vec()).await.with_status(422).violation();
    assert_eq!(cut["type"], "json_invalid");

    let empty = post(JSON, Vec::new()).await.with_status(422).violation();
    assert_eq!(empty, json!({ "type": "missing", "loc": ["body"], "msg": "Field required", "input": null }));
    let list = post(JSON, b"[1]".to_vec()).await.with_status(422).violation();
    assert_eq!(
        (&list["type"], &list["loc"], &list["input"]),
        (&json!("dict_type"), &json!(["body"]), &json!([1]))
    );

    let form = post("application/x-www-form-urlencoded", b"title=On+paper".to_vec()).await.with_status(415);
    assert!(form.json()["detail"].is_string());
    let document = json!({ "title": "On paper" }).to_string().into_bytes();
    post("application/json; charset=utf-8", document).await.with_status(201);

    let large = json!({ "title": "On paper", "topic": "x".repeat(64 * 1024) }).to_string().into_bytes();
    let large = post(JSON, large).await.with_status(413);
    assert_eq!(large.reason(), "BODY_TOO_LARGE");
    assert!(large.json()["detail"].is_string());
    system.stop().await;
}

async fn who_may_step_in_for_the_writer_is_chosen_and_changed(backend: Backend) {
    let nowhere = "http://127.0.0.1:1/v1";
    let models =
        [("QUIRE_MODEL_BASE_URL", nowhere), ("QUIRE_MODEL", "one"), ("QUIRE_ANTHROPIC_MODEL", "two")];
    let system = System::start(backend, &models).await;
    let ada = system.sign_in("ada@example.org").await;
    let spec =
        |fallbacks: Value| json!({ "title": "On paper", "writer": "openai", "fallback_writers": fallbacks });
    for (fallbacks, place, message) in [
        (json!("anthropic"), json!(["body", "fallback_writers"]), "Input should be a valid list"),
        (json!([7]), json!(["body", "fallback_writers", 0]), "Input should be a valid string"),
        (json!(["gpt"]), json!(["body", "fallback_writers", 0]), "Input should be 'anthropic'"),
        (
            json!(["openai"]),
            json!(["body", "fallback_writers", 0]),
            "Value error, openai is the writer itself",
        ),
        (
            json!(["anthropic", "anthropic"]),
            json!(["body", "fallback_writers", 1]),
            "Value error, anthropic is in the list already",
        ),
    ] {
        let violation = create(&ada, &spec(fallbacks)).await.with_status(422).violation();
        assert_eq!((&violation["loc"], &violation["msg"]), (&place, &json!(message)));
    }
    let created = create(&ada, &spec(json!(["anthropic"]))).await.with_status(201).json();
    assert_eq!(created["fallback_writers"], json!(["anthropic"]));
    let id = created["id"].as_str().unwrap();
    let path = format!("/documents/{id}");
    let change = async |body: Value| ada.patch(&path, &body).await;
    change(json!({ "writer": "anthropic" })).await.with_status(422);
    let both = json!({ "writer": "anthropic", "fallback_writers": ["openai"] });
    assert_eq!(change(both).await.with_status(200).json()["fallback_writers"], json!(["openai"]));
    change(json!({ "title": "On ink" })).await.with_status(200);
    assert_eq!(ada.document(id).await["fallback_writers"], json!(["openai"]));
    change(json!({ "fallback_writers": [] })).await.with_status(200);
    assert_eq!(ada.document(id).await["fallback_writers"], json!([]));
    system.stop().await;
}
