//! Cancelled jobs that have finished sections: these are delivered and paid, and nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quire_clock::World;
use quire_proto::document::v1::{DocumentStatus, ExportFormat};
use quire_proto::job::v1::JobStatus;
use quire_proto::payment::v1::JobOutcome;
use quire_testkit::Backend;
use tonic::Status;

use crate::model::{FakeModel, Reply, willing};
use crate::press::{BrokenPress, FixedPress, InProcessPress, SlowPress, WaitingPress};
use crate::stage::{ORDER, Service, Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    the_finished_sections_are_delivered_and_say_which_they_are,
    a_part_has_the_layout_of_a_whole,
    no_more_pages_are_counted_than_were_paid,
    a_job_that_waits_with_finished_sections_is_typeset_at_once,
    a_part_that_breaks_the_worker_three_times_costs_nothing,
    a_part_that_cannot_be_typeset_costs_nothing,
    a_part_that_document_refuses_costs_nothing,
    a_part_that_document_does_not_take_yet_is_offered_again,
    a_cancellation_after_the_last_section_delivers_the_whole,
    a_refund_stops_a_part_that_is_being_typeset,
    a_refunded_job_that_runs_delivers_nothing,
);

/// Two of four sections, then nothing more.
async fn two_sections(backend: Backend) -> Stage {
    let model = FakeModel::start(|asked, number| match asked {
        "2.1" => Reply::Hangs("Half a sentence that".to_owned()),
        _ => willing(asked, number),
    });
    Stage::openai(backend, model.await).await.in_order()
}

/// A job that is asked to end while the model writes the third of four sections.
async fn cancelled(stage: &Stage, service: &mut Service) -> String {
    let job_id = service.start_paid().await;
    stage.model.as_ref().unwrap().was_asked("2.1").await;
    service.cancel(&job_id).await;
    service.cancel(&job_id).await;
    job_id
}

/// The only settlement: cancelled, with these pages.
async fn assert_settled(stage: &Stage, delivered_pages: i32) {
    let settled = stage.payment.wait_settled(1).await;
    let seen: Vec<_> = settled.iter().map(|one| (one.outcome(), one.delivered_pages)).collect();
    assert_eq!(seen, [(JobOutcome::Cancelled, delivered_pages)]);
}

async fn the_finished_sections_are_delivered_and_say_which_they_are(backend: Backend) {
    let press = Arc::new(FixedPress::pages(3));
    let mut stage = two_sections(backend).await;
    stage.press = press.clone();
    let mut service = stage.start().await;
    let job_id = cancelled(&stage, &mut service).await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "cancelled");
    assert_eq!(of_kind(&events, "cancelled")[0]["pages"], 3);
    assert_settled(&stage, 3).await;

    let job = service.job(&job_id).await;
    assert_eq!((job.status(), job.counted_pages, job.sections_done), (JobStatus::Cancelled, 3, 2));
    assert!((1..100).contains(&job.percent), "{} percent", job.percent);
    assert_eq!(service.cancel(&job_id).await, job);
    assert_eq!(service.order_job().await.delivered_pages, 3);

    let books = press.books.lock().unwrap();
    let [book] = books.as_slice() else { panic!("{} books", books.len()) };
    assert_eq!(book.meta.subtitle.as_deref(), Some("§ 1.1–1.2 (2/4)"));
    let chapters: Vec<&str> = book.chapters.iter().map(|chapter| chapter.title.as_str()).collect();
    assert_eq!(chapters, ["Paper"]);
    let titles: Vec<_> = book.chapters[0].sections.iter().map(|section| section.title.as_deref()).collect();
    assert_eq!(titles, [Some("Rags"), Some("Wood")]);
    let told = stage.document.told.lock().unwrap();
    let formats: Vec<ExportFormat> = told.exports.iter().map(|(format, _)| *format).collect();
    assert_eq!(formats, [ExportFormat::Pdf, ExportFormat::Markdown]);
    assert_eq!(told.reports.last(), Some(&(DocumentStatus::Cancelled, 3, String::new())));
}

async fn a_part_has_the_layout_of_a_whole(backend: Backend) {
    let mut stage = two_sections(backend).await;
    stage.press = Arc::new(InProcessPress);
    let mut service = stage.start().await;
    let job_id = cancelled(&stage, &mut service).await;
    let events = service.events(&job_id, 0).await;
    let typesetting = of_kind(&events, "typesetting");
    assert_eq!(typesetting.len(), 1, "every character has a glyph: {typesetting:?}");
    let pages = service.job(&job_id).await.counted_pages;
    assert!((3..=6).contains(&pages), "{pages} pages");
    assert_settled(&stage, pages).await;
    let told = stage.document.told.lock().unwrap();
    assert!(told.exports[0].1.starts_with(b"%PDF-"));
    let markdown = String::from_utf8(told.exports[1].1.clone()).unwrap();
    assert!(markdown.contains("§ 1.1–1.2 (2/4)"), "{markdown}");
    assert!(markdown.contains("The text of section 1.2."), "{markdown}");
    assert!(!markdown.contains("Ink"), "{markdown}");
}

async fn no_more_pages_are_counted_than_were_paid(backend: Backend) {
    let mut stage = two_sections(backend).await;
    stage.press = Arc::new(FixedPress::pages(9));
    let mut service = stage.start().await;
    cancelled(&stage, &mut service).await;
    assert_settled(&stage, 6).await;
    assert_eq!(stage.document.wait_reported(DocumentStatus::Cancelled).await, 9);
    assert_eq!(service.order_job().await.delivered_pages, 6);
}

async fn a_job_that_waits_with_finished_sections_is_typeset_at_once(backend: Backend) {
    let model = FakeModel::start(|asked, number| match asked {
        "1.2" => Reply::Refuses(429, Some("600")),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let waiting = service.wait_for(&job_id, "retrying", 1).await;
    assert!(of_kind(&waiting, "retrying")[0]["delay_ms"].as_i64().unwrap() >= 600_000);
    service.cancel(&job_id).await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "cancelled");
    assert_eq!(of_kind(&events, "retrying").len(), 1);
    assert_settled(&stage, 6).await;
    assert_eq!(stage.model.as_ref().unwrap().calls("1.2"), 1);
}

async fn a_part_that_breaks_the_worker_three_times_costs_nothing(backend: Backend) {
    let press = Arc::new(BrokenPress::default());
    let mut stage = two_sections(backend).await;
    stage.press = press.clone();
    let mut service = stage.start().await;
    let job_id = cancelled(&stage, &mut service).await;
    assert_whole(&service.events(&job_id, 0).await, 1, "cancelled");
    assert_eq!(press.tries.load(Ordering::SeqCst), 3);
    assert_settled(&stage, 0).await;
    assert_eq!(stage.document.wait_reported(DocumentStatus::Cancelled).await, 0);
}

async fn a_part_that_cannot_be_typeset_costs_nothing(backend: Backend) {
    let press = Arc::new(SlowPress::default());
    let mut stage = two_sections(backend).await;
    stage.press = press.clone();
    let mut service = stage.start().await;
    let job_id = cancelled(&stage, &mut service).await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "cancelled");
    assert_eq!(press.tries.load(Ordering::SeqCst), 8);
    assert_settled(&stage, 0).await;
    let job = service.job(&job_id).await;
    assert_eq!((job.status(), job.failure.as_str()), (JobStatus::Cancelled, ""));
}

async fn a_part_that_document_refuses_costs_nothing(backend: Backend) {
    let stage = two_sections(backend).await;
    stage.document.refuse_parts.lock().unwrap().push_back(Status::already_exists("another job's"));
    let mut service = stage.start().await;
    let job_id = cancelled(&stage, &mut service).await;
    assert_whole(&service.events(&job_id, 0).await, 1, "cancelled");
    assert_settled(&stage, 0).await;
    assert_eq!(stage.document.wait_reported(DocumentStatus::Cancelled).await, 0);
    assert_eq!(service.order_job().await.delivered_pages, 0);
}

async fn a_part_that_document_does_not_take_yet_is_offered_again(backend: Backend) {
    let stage = two_sections(backend).await;
    let refusals = (0..9).map(|_| Status::unavailable("down"));
    stage.document.refuse_parts.lock().unwrap().extend(refusals);
    let base = Duration::from_nanos(1);
    let mut service = stage.start_with(World::system(), |config| config.retry_base = base).await;
    let job_id = cancelled(&stage, &mut service).await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "cancelled");
    let retries = of_kind(&events, "retrying");
    assert_eq!(retries.len(), 9);
    assert!(retries.iter().all(|retry| retry["step"] == "finish"), "{retries:?}");
    assert_settled(&stage, 6).await;
    assert_eq!(stage.document.told.lock().unwrap().exports.len(), 2, "it is typeset once");
}

async fn a_cancellation_after_the_last_section_delivers_the_whole(backend: Backend) {
    let press = Arc::new(WaitingPress::new());
    let mut stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    stage.press = press.clone();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    press.asked.subscribe().wait_for(|asked| *asked).await.unwrap();
    service.cancel(&job_id).await;
    press.sign.send_replace(true);
    assert_whole(&service.events(&job_id, 0).await, 1, "cancelled");
    assert_settled(&stage, 2).await;
    let told = stage.document.told.lock().unwrap();
    let markdown = String::from_utf8(told.exports.last().unwrap().1.clone()).unwrap();
    assert!(!markdown.contains('§'), "{markdown}");
    assert!(markdown.contains("The text of section 2.2."), "{markdown}");
}

async fn a_refund_stops_a_part_that_is_being_typeset(backend: Backend) {
    let press = Arc::new(WaitingPress::new());
    let mut stage = two_sections(backend).await;
    stage.press = press.clone();
    let mut service = stage.start().await;
    let job_id = cancelled(&stage, &mut service).await;
    press.asked.subscribe().wait_for(|asked| *asked).await.unwrap();
    let job = service.cancel_order(ORDER).await.unwrap();
    assert_eq!((job.status(), job.delivered_pages), (JobStatus::Running, 0));
    press.sign.send_replace(true);
    assert_whole(&service.events(&job_id, 0).await, 1, "cancelled");
    assert_settled(&stage, 0).await;
    assert_eq!(stage.document.wait_reported(DocumentStatus::Cancelled).await, 0);
}

async fn a_refunded_job_that_runs_delivers_nothing(backend: Backend) {
    let stage = two_sections(backend).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    stage.model.as_ref().unwrap().was_asked("2.1").await;
    for _ in 0..2 {
        let job = service.cancel_order(ORDER).await.unwrap();
        assert_eq!((job.job_id.as_str(), job.delivered_pages), (job_id.as_str(), 0));
    }
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "cancelled");
    assert_eq!(of_kind(&events, "typesetting").len(), 0);
    assert_settled(&stage, 0).await;
    assert_eq!(stage.document.wait_reported(DocumentStatus::Cancelled).await, 0);
    assert_eq!(stage.document.told.lock().unwrap().exports, []);
    let again = service.cancel_order(ORDER).await.unwrap();
    assert_eq!(again.status(), JobStatus::Cancelled);
    assert_eq!(stage.payment.settled().len(), 1);
}
