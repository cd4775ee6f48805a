//! The process is killed in the middle, without a word, and started again on the same folder.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::customer::{Customer, text};
use crate::provider::{Told, signed};
use crate::samples;
use crate::serving::{Serving, said};
use crate::wait::eventually;

/// Long enough that most of the work lies after the first section.
const PAGES: i64 = 40;

/// A long PDF that is too large for the repository, where there is one.
fn long_source() -> Option<PathBuf> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/sources/debian-faq.en.pdf");
    path.is_file().then_some(path)
}

async fn written_at(customer: &Customer, document: &str) -> HashMap<String, Value> {
    let sections = customer.get(&format!("/documents/{document}/sections")).await.with_status(200).json();
    let sections = sections["sections"].as_array().unwrap().iter();
    sections.map(|section| (text(&section["key"]), section["written_at"].clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_on_after_a_kill_and_writes_no_section_twice() {
    let folder = tempfile::tempdir().unwrap();
    let before = Serving::start(folder.path(), &HashMap::new()).await;
    let ada = before.client.sign_in("ada@example.org").await;
    let document = ada.create_document(&json!({ "title": "A long one", "target_pages": 12 })).await;
    for name in samples::ALL {
        ada.upload_sample(&document, name).await;
    }
    if let Some(path) = long_source() {
        ada.upload(&document, "debian-faq.pdf", std::fs::read(path).unwrap()).await.with_status(201);
    }
    let sources = ada.get(&format!("/documents/{document}/sources")).await.with_status(200).json();
    let pages = sources["max_pages"].as_i64().unwrap().min(PAGES);
    ada.patch(&format!("/documents/{document}"), &json!({ "target_pages": pages })).await.with_status(200);
    let order = ada.checkout(&document).await;
    ada.pay(&order).await;
    let job = ada.job_of(&text(&order["id"])).await;

    let seen = ada.follow_until(&job, 0, |event| event.kind == "section_done").await;
    assert_eq!(seen.last().unwrap().kind, "section_done", "{seen:?}");
    let kept = written_at(&ada, &document).await;
    before.kill();

    let after = Serving::start(folder.path(), &HashMap::new()).await;
    let ada = Customer { client: after.client.clone(), ..ada };
    let cursor = seen.last().unwrap().id;
    let rest = ada.follow(&job, cursor).await;
    assert_eq!(rest.last().unwrap().kind, "completed", "{rest:?}\n{}", said(folder.path()));
    assert!(
        rest.iter().any(|event| event.kind == "started" && event.data["attempt"] == 2),
        "it was not interrupted"
    );

    let all = ada.follow(&job, 0).await;
    assert_eq!(all, [seen, rest].concat(), "the log is not what was seen while it was written");
    let ids: Vec<u64> = all.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=all.len() as u64).collect::<Vec<_>>());
    let percents: Vec<i64> = all.iter().filter_map(|event| event.data["percent"].as_i64()).collect();
    assert!(percents.is_sorted(), "percent fell: {percents:?}");

    let now = written_at(&ada, &document).await;
    // Others may have been on their way when the process died: those are sent again, and not written again.
    let done = all.iter().filter(|event| event.id <= cursor && event.kind == "section_done");
    let done: Vec<String> = done.map(|event| text(&event.data["key"])).collect();
    assert!(!done.is_empty());
    for key in &done {
        assert_eq!(now.get(key), kept.get(key), "section {key} was written again");
    }
    for key in now.keys() {
        let done =
            all.iter().filter(|event| event.kind == "section_done" && event.data["key"] == key.as_str());
        assert_eq!(done.count(), 1, "section {key}");
    }
    assert_eq!(ada.jobs_of(&document).await.len(), 1);
    let counted = ada.document(&document).await["counted_pages"].as_i64().unwrap();
    let pdf = ada.export(&document, "pdf").await.with_status(200);
    assert_eq!(i64::try_from(samples::pages_of(&pdf.body)).unwrap(), counted);
    assert!((pages - 1..=pages).contains(&counted), "{counted} pages instead of {pages}");
    eventually("the order is delivered", || async {
        (ada.order(&text(&order["id"])).await["status"] == "delivered").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let before = Serving::start(folder.path(), &HashMap::new()).await;
    let ada = before.client.sign_in("ada@example.org").await;
    let document = ada.short_document().await;
    let order = ada.checkout(&document).await;
    let event = Told { event: "evt_last_words", kind: "checkout.session.completed", order: &order }.body();
    before.client.webhook(event.clone(), Some(&signed(&event))).await.with_status(200);
    before.kill();

    let after = Serving::start(folder.path(), &HashMap::new()).await;
    let ada = Customer { client: after.client.clone(), ..ada };
    let job = ada.job_of(&text(&order["id"])).await;
    let last = ada.follow(&job, 0).await.pop().unwrap();
    assert_eq!(last.kind, "completed", "{last:?}\n{}", said(folder.path()));
    // The provider, which heard no end of it, says it once more.
    let again = after.client.webhook(event.clone(), Some(&signed(&event))).await.with_status(200);
    assert_eq!(again.json()["verdict"], "duplicate");
    assert_eq!(ada.jobs_of(&document).await.len(), 1);
}
