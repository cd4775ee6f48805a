//! A section by itself: ordered in one call, paid and written like any document.

use quire_testkit::Backend;
use serde_json::json;

use crate::customer::text;
use crate::samples;
use crate::system::System;

quire_testkit::on_both_databases!(a_section_is_quoted_paid_and_written_with_one_chapter);

async fn a_section_is_quoted_paid_and_written_with_one_chapter(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    const ROUTE: &str = "/generate/section";

    for (pages, kind) in [(0, "greater_than_equal"), (101, "less_than_equal")] {
        let asked = json!({ "title": "Keeping paper", "language": "tlh", "pages": pages });
        let refused = ada.post(ROUTE, &asked).await.with_status(422).violations();
        let told: Vec<_> = refused.iter().map(|one| (one["loc"][1].clone(), one["type"].clone())).collect();
        assert_eq!(told, [(json!("language"), json!("enum")), (json!("pages"), json!(kind))]);
    }
    let refused = ada.post(ROUTE, &json!({ "pages": "many" })).await.with_status(422).violations();
    let told: Vec<_> = refused.iter().map(|one| one["loc"][1].clone()).collect();
    assert_eq!(told, ["title", "pages"]);

    let asked = json!({ "title": "Keeping paper", "topic": "how it lasts", "pages": 4 });
    let ordered = ada.post(ROUTE, &asked).await.with_status(201).json();
    let (document, quote) = (&ordered["document"], &ordered["quote"]);
    assert_eq!((&document["kind"], &document["target_pages"]), (&json!("section"), &json!(4)));
    assert_eq!(quote["total"], json!({ "amount_minor": 200, "currency": "EUR" }));
    let id = text(&document["id"]);
    let unpaid = ada.post(ROUTE, &json!({ "document_id": id })).await.with_status(402);
    assert_eq!(unpaid.reason(), "PAYMENT_REQUIRED");

    ada.upload_sample(&id, samples::TEXT).await;
    let order = ada.checkout(&id).await;
    assert_eq!(order["total"], quote["total"]);
    ada.pay(&order).await;
    let job_id = ada.job_of(&text(&order["id"])).await;
    let job = ada.post(ROUTE, &json!({ "document_id": id })).await.with_status(202).json();
    assert_eq!(job["id"], job_id.as_str());
    assert_eq!(ada.follow(&job_id, 0).await.last().unwrap().kind, "completed");
    let outline = ada.get(&format!("/documents/{id}/outline")).await.with_status(200).json();
    let chapters = outline["chapters"].as_array().unwrap();
    assert_eq!((chapters.len(), &chapters[0]["title"]), (1, &json!("Keeping paper")));
    system.stop().await;
}
