//! One customer, from a link in a mail to a typeset PDF of real source files.

use std::collections::HashMap;

use quire_testkit::Backend;
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::customer::{Customer, text};
use crate::samples;
use crate::sse::Event;
use crate::system::System;
use crate::wait::eventually;

quire_testkit::on_both_databases!(
    a_customer_gets_the_pages_that_were_paid,
    what_belongs_to_somebody_else_is_not_there
);

const PAGES: i32 = 12;

async fn a_customer_gets_the_pages_that_were_paid(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;

    let spec = json!({ "title": "Paper & books: a <small> history", "topic": "how paper is made", "target_pages": PAGES });
    let id = ada.create_document(&spec).await;
    for name in samples::ALL {
        ada.upload_sample(&id, name).await;
    }
    let sources = ada.get(&format!("/documents/{id}/sources")).await.with_status(200).json();
    let names: Vec<_> =
        sources["sources"].as_array().unwrap().iter().map(|source| text(&source["file_name"])).collect();
    assert_eq!(names, samples::ALL);
    let printed = samples::pages_of(&samples::read(samples::PDF));
    assert_eq!(sources["sources"][0]["pages"], printed);
    assert!(sources["max_pages"].as_i64().unwrap() >= i64::from(PAGES), "{sources}");
    assert_eq!(ada.document(&id).await["status"], "draft");

    let order = ada.checkout(&id).await;
    assert_eq!(order["total"], json!({ "amount_minor": 600, "currency": "EUR" }));
    assert_eq!(order["status"], "open");
    assert_eq!(ada.document(&id).await["status"], "payment_pending");
    assert_eq!(ada.checkout(&id).await["id"], order["id"], "a second checkout must be the same");
    // The quote is locked.
    ada.patch(&format!("/documents/{id}"), &json!({ "target_pages": 30 })).await.with_status(409);
    ada.export(&id, "pdf").await.with_status(409);

    ada.pay(&order).await;
    let order_id = text(&order["id"]);
    let job_id = ada.job_of(&order_id).await;
    let events = ada.follow(&job_id, 0).await;
    let counted = events_tell_the_whole_story(&events);

    let document = ada.document(&id).await;
    assert_eq!(document["status"], "completed");
    assert_eq!(document["counted_pages"], counted);
    assert_eq!(document["job_id"], job_id.as_str());
    assert!((PAGES - 1..=PAGES).contains(&counted), "{counted} pages");
    let pdf = ada.export(&id, "pdf").await.with_status(200);
    assert_eq!(samples::pages_of(&pdf.body), usize::try_from(counted).unwrap());

    let job = ada.job(&job_id).await;
    assert_eq!(
        (&job["status"], &job["percent"], &job["attempt"]),
        (&json!("completed"), &json!(100), &json!(1))
    );
    assert_eq!(job["last_event_id"], events.last().unwrap().id);
    assert_eq!(job["order_id"], order["id"]);
    eventually("the order is delivered", || async {
        (ada.order(&order_id).await["status"] == "delivered").then_some(())
    })
    .await;
    let again = ada.post("/payment/create-checkout", &json!({ "document_id": id })).await.with_status(409);
    assert_eq!(again.reason(), "ALREADY_PAID");
    let orders = ada.get("/payment/orders").await.with_status(200).json();
    assert_eq!(orders["orders"].as_array().unwrap().len(), 1);

    a_broken_connection_continues(&ada, &job_id, &events).await;
    the_download_follows_http(&ada, &id, &pdf).await;
    the_markdown_quotes_the_sources(&ada, &id).await;
    the_outline_is_written(&ada, &id, &events).await;
    system.stop().await;
}

/// Checks the numbering, the order and the percent, and tells how many pages the last event counts.
fn events_tell_the_whole_story(events: &[Event]) -> i32 {
    let ids: Vec<u64> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=events.len() as u64).collect::<Vec<_>>(), "ids have a gap");
    let percents: Vec<i64> = events.iter().filter_map(|event| event.data["percent"].as_i64()).collect();
    assert!(percents.is_sorted(), "percent fell: {percents:?}");
    assert_eq!(percents.last(), Some(&100));
    let place = |kind: &str| {
        events.iter().position(|event| event.kind == kind).unwrap_or_else(|| panic!("no {kind}"))
    };
    let story =
        ["queued", "started", "planned", "section_started", "section_done", "typesetting", "completed"];
    let places = story.map(place);
    assert!(places.is_sorted(), "{story:?} came at {places:?}");
    let done = events.iter().filter(|event| event.kind == "section_done").count();
    assert_eq!(events[place("planned")].data["sections"], done);

    // The pieces of text fit together without a gap.
    let mut length: HashMap<String, u64> = HashMap::new();
    for event in events.iter().filter(|event| event.kind == "text") {
        let so_far = length.entry(text(&event.data["key"])).or_default();
        assert_eq!(event.data["offset"], *so_far, "{event:?}");
        *so_far += event.data["text"].as_str().unwrap().len() as u64;
    }
    assert_eq!(length.len(), done, "a section has no text");
    i32::try_from(events.last().unwrap().data["pages"].as_i64().unwrap()).unwrap()
}

async fn a_broken_connection_continues(ada: &Customer, job_id: &str, events: &[Event]) {
    let middle = events.len() / 2;
    assert_eq!(ada.follow(job_id, events[middle].id).await, events[middle + 1..]);
    let path = format!("/jobs/{job_id}/events");
    let query =
        Answer::to(ada.request(Method::GET, &format!("{path}?last_event_id={}", events[middle].id))).await;
    assert!(query.text().contains(&format!("id: {}\n", events[middle + 1].id)));
    assert!(!query.text().contains(&format!("id: {}\n", events[middle].id)));
    assert_eq!(query.header("content-type"), "text/event-stream");
    assert_eq!((query.header("cache-control"), query.header("x-accel-buffering")), ("no-cache", "no"));
    let last = events.last().unwrap().id;
    let over = ada.request(Method::GET, &path).header("last-event-id", last.to_string());
    assert!(Answer::to(over).await.with_status(204).body.is_empty());
    let wrong = ada.request(Method::GET, &path).header("last-event-id", "yesterday");
    Answer::to(wrong).await.with_status(422);
}

async fn the_download_follows_http(ada: &Customer, id: &str, pdf: &Answer) {
    let path = format!("/documents/{id}/export/pdf");
    let size = pdf.body.len();
    assert!(pdf.body.starts_with(b"%PDF-"));
    assert_eq!(pdf.header("content-type"), "application/pdf");
    assert_eq!(pdf.header("content-length"), size.to_string());
    assert_eq!(pdf.header("accept-ranges"), "bytes");
    let disposition = pdf.header("content-disposition");
    assert!(
        disposition.starts_with("attachment; filename=\"") && disposition.contains(".pdf"),
        "{disposition}"
    );
    let etag = pdf.header("etag").to_owned();
    assert!(etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'), "{etag}");

    let head = Answer::to(ada.request(Method::HEAD, &path)).await.with_status(200);
    assert_eq!((head.header("content-length"), head.body.len()), (size.to_string().as_str(), 0));
    assert_eq!(head.header("etag"), etag);

    let part = async |range: &str| Answer::to(ada.request(Method::GET, &path).header("range", range)).await;
    let first = part("bytes=0-99").await.with_status(206);
    assert_eq!(first.header("content-range"), format!("bytes 0-99/{size}"));
    let rest = part("bytes=100-").await.with_status(206);
    assert_eq!(rest.header("etag"), etag);
    assert!([first.body, rest.body].concat() == pdf.body, "the two parts are not the file");
    let last = part("bytes=-7").await.with_status(206);
    assert_eq!(last.body, pdf.body[size - 7..]);
    let beyond = part(&format!("bytes={size}-")).await.with_status(416);
    assert_eq!(beyond.header("content-range"), format!("bytes */{size}"));

    let known = ada.request(Method::GET, &path).header("if-none-match", &etag);
    assert!(Answer::to(known).await.with_status(304).body.is_empty());
    let changed =
        ada.request(Method::GET, &path).header("range", "bytes=0-9").header("if-range", "\"other\"");
    assert_eq!(Answer::to(changed).await.with_status(200).body.len(), size);
    let unknown = ada.export(id, "epub").await.with_status(404);
    assert_eq!(unknown.reason(), "EXPORT_FORMAT_UNKNOWN");
}

async fn the_markdown_quotes_the_sources(ada: &Customer, id: &str) {
    let markdown = ada.export(id, "md").await.with_status(200);
    assert!(
        markdown.header("content-type").starts_with("text/markdown"),
        "{}",
        markdown.header("content-type")
    );
    let markdown = String::from_utf8(markdown.body).unwrap();
    assert!(markdown.starts_with("# Paper"), "{}", &markdown[..100]);
    assert!(markdown.contains("\n## 1 ") && markdown.contains("\n## 2 "), "no numbered headings: {markdown}");
    let (_, references) = markdown.split_once("\n## References\n").expect("a chapter of references");
    let references = references.lines().filter(|line| line.starts_with('[')).count();
    assert!((2..=samples::ALL.len()).contains(&references), "{references} references");

    let sources = samples::letters_of_all();
    let quotes = quotations(&markdown);
    assert!(quotes.len() >= 20, "only {} quotations", quotes.len());
    let mut cited = vec![false; references];
    for (quote, cite) in &quotes {
        assert!(sources.contains(&samples::letters(quote)), "this is in no source: {quote}");
        let number: usize = cite.split([',', ']']).next().unwrap().parse().unwrap();
        cited[number - 1] = true;
    }
    assert!(cited.iter().all(|cited| *cited), "a reference is not cited: {cited:?}");
    assert!(quotes.iter().any(|(_, cite)| cite.contains(", p. ")), "no quotation names its page");
}

/// Block quotes: their text, and `3, p. 12]` behind it.
fn quotations(markdown: &str) -> Vec<(String, String)> {
    let mut quotes = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in markdown.lines() {
        match line.strip_prefix('>') {
            Some(line) => match line.trim().strip_prefix('[') {
                Some(cite) if lines.last().is_some_and(|before| before.trim().is_empty()) => {
                    quotes.push((lines.join("\n"), cite.to_owned()));
                    lines.clear();
                }
                _ => lines.push(line),
            },
            None => lines.clear(),
        }
    }
    quotes
}

async fn the_outline_is_written(ada: &Customer, id: &str, events: &[Event]) {
    let outline = ada.get(&format!("/documents/{id}/outline")).await.with_status(200).json();
    let chapters = outline["chapters"].as_array().unwrap();
    let planned: Vec<&Value> =
        chapters.iter().flat_map(|chapter| chapter["sections"].as_array().unwrap()).collect();
    assert!(planned.iter().all(|section| section["written"] == true), "{outline}");
    let sections = ada.get(&format!("/documents/{id}/sections")).await.with_status(200).json();
    let written: Vec<&Value> = sections["sections"].as_array().unwrap().iter().collect();
    let keys = |sections: &[&Value]| sections.iter().map(|section| text(&section["key"])).collect::<Vec<_>>();
    let done = events.iter().filter(|event| event.kind == "section_done");
    let mut done: Vec<String> = done.map(|event| text(&event.data["key"])).collect();
    // Several are written at once; there are few enough for this order to be that of the plan.
    done.sort();
    assert_eq!(keys(&planned), done);
    assert_eq!(keys(&written), done);
    assert!(written.iter().all(|section| section["writer"] == "digest" && section["blocks"].is_array()));
}

async fn what_belongs_to_somebody_else_is_not_there(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let eve = system.sign_in("eve@example.org").await;
    let document = ada.short_document().await;
    let sources = ada.get(&format!("/documents/{document}/sources")).await.json();
    let source = text(&sources["sources"][0]["id"]);
    let order = ada.checkout(&document).await;
    ada.pay(&order).await;
    let order = text(&order["id"]);
    let job = ada.job_of(&order).await;
    ada.follow(&job, 0).await;

    let nothing = "018bcfe5-6800-7000-8000-000000000001";
    let mut told = Vec::new();
    for (document, source, order, job) in [
        (document.as_str(), source.as_str(), order.as_str(), job.as_str()),
        (nothing, nothing, nothing, nothing),
    ] {
        let described = json!({ "title": "Mine" });
        let chosen = json!({ "document_id": document });
        for (method, path, body) in [
            (Method::GET, format!("/documents/{document}"), None),
            (Method::PATCH, format!("/documents/{document}"), Some(&described)),
            (Method::DELETE, format!("/documents/{document}"), None),
            (Method::GET, format!("/documents/{document}/outline"), None),
            (
                Method::PUT,
                format!("/documents/{document}/outline"),
                Some(&json!({ "chapter_titles": ["Mine"] })),
            ),
            (Method::GET, format!("/documents/{document}/sections"), None),
            (Method::GET, format!("/documents/{document}/sources"), None),
            (Method::DELETE, format!("/documents/{document}/sources/{source}"), None),
            (Method::GET, format!("/documents/{document}/export/pdf"), None),
            (Method::HEAD, format!("/documents/{document}/export/md"), None),
            (Method::POST, "/payment/create-checkout".to_owned(), Some(&chosen)),
            (Method::GET, format!("/payment/orders/{order}"), None),
            (Method::GET, format!("/jobs/{job}"), None),
            (Method::GET, format!("/jobs/{job}/status"), None),
            (Method::GET, format!("/jobs/{job}/events"), None),
            (Method::POST, format!("/jobs/{job}/cancel"), None),
        ] {
            let request = eve.request(method.clone(), &path);
            let request = match body {
                Some(body) => request.json(body),
                None => request,
            };
            let answer = Answer::to(request).await;
            if answer.status != 404 {
                told.push(format!("{method} {path}: {} {}", answer.status, answer.text()));
            }
        }
        // Unpaid by her, as an unknown one is: that it exists, and was paid by another, is not told.
        let unpaid = eve.post("/generate/full-document", &chosen).await.with_status(402);
        assert_eq!(unpaid.reason(), "PAYMENT_REQUIRED");
        eve.upload(document, samples::TEXT, samples::read(samples::TEXT)).await.with_status(404);
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
    for list in ["/documents", "/payment/orders", "/jobs", &format!("/jobs?document_id={document}")] {
        let answer = eve.get(list).await.with_status(200).json();
        let lists: Vec<&Value> =
            answer.as_object().unwrap().values().filter(|value| value.is_array()).collect();
        assert_eq!(lists, [&json!([])], "{list}: {answer}");
    }
    assert_eq!(ada.document(&document).await["title"], "Keeping books");
    system.stop().await;
}
