//! A customer who wants to see the outline before it is written, and changes it.

use quire_testkit::Backend;
use reqwest::Method;
use serde_json::{Value, json};

use crate::customer::text;
use crate::samples;
use crate::system::System;

quire_testkit::on_both_databases!(
    an_outline_is_shown_changed_approved_and_written,
    an_outline_is_seen_before_the_order_and_written_after_it,
);

async fn an_outline_is_shown_changed_approved_and_written(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let eve = system.sign_in("eve@example.org").await;
    let spec = json!({ "title": "Paper", "target_pages": 4, "review_outline": true });
    let id = ada.create_document(&spec).await;
    ada.upload_sample(&id, samples::TEXT).await;
    assert_eq!(ada.document(&id).await["review_outline"], true);
    let (outline, approve) = (format!("/documents/{id}/outline"), format!("/documents/{id}/outline/approve"));
    let early = ada.post(&approve, &json!({})).await.with_status(409);
    assert_eq!(early.reason(), "OUTLINE_NOT_READY");

    let order = ada.checkout(&id).await;
    ada.pay(&order).await;
    let job_id = ada.job_of(&text(&order["id"])).await;
    let events = ada.follow_until(&job_id, 0, |event| event.kind == "paused").await;
    assert_eq!(events.last().unwrap().data["reason"], "outline_review");
    let job = ada.job(&job_id).await;
    assert_eq!((&job["status"], &job["pause_reason"]), (&json!("paused"), &json!("outline_review")));
    let proposed = ada.get(&outline).await.with_status(200).json();
    assert_eq!(proposed["awaits_approval"], true);

    let wrong = json!({ "chapters": [{ "title": "", "sections": [{ "title": 7 }] }, { "title": "Ink", "sections": 1 }] });
    let refused = ada.send(Method::PUT, &outline, &wrong).await.with_status(422);
    let places: Vec<Value> = refused.violations().iter().map(|violation| violation["loc"].clone()).collect();
    assert_eq!(
        places,
        [json!(["body", "chapters", 0, "sections", 0, "title"]), json!(["body", "chapters", 1, "sections"]),]
    );
    eve.send(Method::PUT, &outline, &json!({ "chapters": proposed["chapters"] })).await.with_status(404);
    eve.post(&approve, &json!({})).await.with_status(404);

    let kept = proposed["chapters"][0]["sections"][0].clone();
    let chapters = json!([
        { "title": "New first", "sections": [{ "title": "Keeping paper dry" }] },
        { "title": "Old", "sections": [kept] },
    ]);
    let edited =
        ada.send(Method::PUT, &outline, &json!({ "chapters": chapters })).await.with_status(200).json();
    assert_eq!(edited["chapters"][1]["sections"][0]["key"], kept["key"]);
    let job = ada.post(&approve, &json!({})).await.with_status(200).json();
    assert_eq!(job["id"], job_id.as_str());

    let events = ada.follow(&job_id, 0).await;
    assert_eq!(events.last().unwrap().kind, "completed");
    let written = ada.get(&outline).await.with_status(200).json();
    assert_eq!(written["awaits_approval"], false);
    let titles: Vec<&Value> =
        written["chapters"].as_array().unwrap().iter().map(|chapter| &chapter["title"]).collect();
    assert_eq!(titles, ["New first", "Old"]);
    let sections = ada.get(&format!("/documents/{id}/sections")).await.with_status(200).json();
    assert_eq!(sections["sections"][0]["title"], "Keeping paper dry");
    assert_eq!(sections["sections"].as_array().unwrap().len(), 2);
    let late = ada.send(Method::PUT, &outline, &json!({ "chapters": chapters })).await.with_status(409);
    assert_eq!(late.reason(), "DOCUMENT_STATE");
    ada.export(&id, "pdf").await.with_status(200);
    system.stop().await;
}

async fn an_outline_is_seen_before_the_order_and_written_after_it(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let eve = system.sign_in("eve@example.org").await;
    let id = ada.create_document(&json!({ "title": "Paper", "target_pages": 4 })).await;
    ada.upload_sample(&id, samples::TEXT).await;
    let (path, asked) = (format!("/documents/{id}/outline"), json!({ "document_id": id }));
    let wrong = ada.post("/generate/outline", &json!({ "document": id })).await.with_status(422);
    assert_eq!(wrong.violations()[0]["loc"], json!(["body", "document_id"]));
    eve.post("/generate/outline", &asked).await.with_status(404);
    let before = ada.get(&path).await.with_status(200).json();
    assert_eq!((&before["preview"], &before["chapters"]), (&json!(false), &json!([])));

    let accepted = ada.post("/generate/outline", &asked).await.with_status(202);
    let job = accepted.json();
    assert_eq!(accepted.header("location"), format!("/api/v1/jobs/{}", text(&job["id"])));
    assert_eq!((&job["purpose"], &job["order_id"]), (&json!("outline"), &Value::Null));
    let events = ada.follow(&text(&job["id"]), 0).await;
    assert_eq!(events.last().unwrap().kind, "completed");
    let preview = ada.get(&path).await.with_status(200).json();
    assert_eq!((&preview["preview"], &preview["awaits_approval"]), (&json!(true), &json!(false)));
    assert!(!preview["chapters"].as_array().unwrap().is_empty());
    assert_eq!(ada.document(&id).await["status"], "draft", "nothing is ordered by that");
    let again = ada.post("/generate/outline", &asked).await.with_status(202).json();
    assert_eq!(again["id"], job["id"]);

    // It is shown for the document as it was described.
    let change = async |title: &str| {
        ada.send(Method::PATCH, &format!("/documents/{id}"), &json!({ "title": title }))
            .await
            .with_status(200);
        ada.get(&path).await.with_status(200).json()["preview"].clone()
    };
    assert_eq!(change("Ink").await, false);
    assert_eq!(change("Paper").await, true);

    let order = ada.checkout(&id).await;
    ada.pay(&order).await;
    let job_id = ada.job_of(&text(&order["id"])).await;
    let events = ada.follow(&job_id, 0).await;
    assert_eq!(events.last().unwrap().kind, "completed");
    let written = ada.get(&path).await.with_status(200).json();
    assert_eq!(written["preview"], false);
    let titles = |outline: &Value| {
        let chapters = outline["chapters"].as_array().unwrap().iter();
        chapters.map(|chapter| text(&chapter["title"])).collect::<Vec<_>>()
    };
    assert_eq!(titles(&written), titles(&preview));
    let late = ada.post("/generate/outline", &asked).await.with_status(409);
    assert_eq!(late.reason(), "DOCUMENT_ORDERED");
    system.stop().await;
}
