//! How jobs end: delivered, failed, cancelled; each time with one settlement.

use std::sync::Arc;

use quire_manuscript::Block;
use quire_proto::document::v1::{DocumentStatus, ExportFormat};
use quire_proto::job::v1::JobStatus;
use quire_proto::payment::v1::JobOutcome;
use quire_testkit::Backend;
use tonic::Status;

use crate::model::{FakeModel, Reply, willing};
use crate::press::InProcessPress;
use crate::stage::{DOCUMENT, ORDER, Stage, assert_whole, followed_text, of_kind};

quire_testkit::on_both_databases!(
    a_digest_is_delivered,
    a_document_for_a_model_that_is_not_set_up_fails_with_the_reason,
    a_refusal_of_the_model_fails_the_job_and_settles_once,
    a_job_that_waits_is_cancelled_at_once,
    a_job_that_runs_is_cancelled_in_the_middle_of_a_section,
    a_finished_job_cannot_be_cancelled,
    a_settlement_is_repeated_until_payment_takes_it,
    a_settlement_stored_without_its_pages_is_sent_with_them,
    a_late_report_leaves_the_document_to_the_job_that_ended_it,
    a_character_without_a_glyph_is_replaced_and_named,
);

async fn a_digest_is_delivered(backend: Backend) {
    let mut stage = Stage::digest(backend).await.in_order();
    stage.press = Arc::new(InProcessPress);
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(events[0].kind, "queued");

    let settled = stage.payment.wait_settled(1).await;
    assert_eq!((settled[0].order_id.as_str(), settled[0].job_id.as_str()), (ORDER, job_id.as_str()));
    assert_eq!(settled[0].outcome(), JobOutcome::Delivered);
    let job = service.job(&job_id).await;
    assert_eq!(settled[0].delivered_pages, job.counted_pages);
    assert_eq!(
        (job.status(), job.sections_done, job.percent),
        (JobStatus::Completed, job.sections_total, 100)
    );

    let told = stage.document.told.lock().unwrap();
    assert_eq!(told.attached, [job_id]);
    let keys: Vec<String> = told.outlines[0]
        .chapters
        .iter()
        .flat_map(|chapter| chapter.sections.iter().map(|section| section.key.clone()))
        .collect();
    let sent: Vec<&str> = told.sections.iter().map(|sent| sent.key.as_str()).collect();
    assert_eq!(sent, keys);
    for section in &told.sections {
        let blocks: Vec<Block> = serde_json::from_str(&section.blocks_json).unwrap();
        assert!(blocks.iter().any(|block| matches!(block, Block::Quote { .. })), "{section:?}");
        assert_eq!(section.writer, "digest");
        assert!(!followed_text(&events, &section.key).is_empty());
    }
    let formats: Vec<ExportFormat> = told.exports.iter().map(|(format, _)| *format).collect();
    assert_eq!(formats, [ExportFormat::Pdf, ExportFormat::Markdown]);
    assert!(told.exports[0].1.starts_with(b"%PDF-"));
    assert!(String::from_utf8(told.exports[1].1.clone()).unwrap().starts_with("# Paper and ink"));
    let (status, pages, _) = told.reports.last().unwrap().clone();
    assert_eq!((status, pages), (DocumentStatus::Completed, job.counted_pages));
    assert!((4..=6).contains(&pages), "{pages} pages");
}

async fn a_document_for_a_model_that_is_not_set_up_fails_with_the_reason(backend: Backend) {
    let stage = Stage::new(backend, "openai", None).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_eq!(of_kind(&events, "failed")[0]["reason"], "no_model");
    let job = service.job(&job_id).await;
    assert_eq!(job.failure, "this document needs a language model, and none is set up here");
    assert_eq!(stage.payment.wait_settled(1).await[0].outcome(), JobOutcome::Failed);
}

async fn a_refusal_of_the_model_fails_the_job_and_settles_once(backend: Backend) {
    let model = FakeModel::start(|asked, number| match asked {
        "1.2" => Reply::Refuses(400, None),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "failed");
    assert_eq!(of_kind(&events, "retrying").len(), 0);
    let failed = stage.payment.wait_settled(1).await;
    assert_eq!((failed[0].outcome(), failed[0].delivered_pages), (JobOutcome::Failed, 0));
    assert_eq!(service.job(&job_id).await.status(), JobStatus::Failed);
    assert_eq!(service.order_job().await.delivered_pages, 0);
    // The relay posts both messages in one pass, so that after one more pass nothing can come.
    service.start_order("order-2", DOCUMENT, 6).await.unwrap();
    let settled = stage.payment.wait_settled(2).await;
    assert_eq!(settled.iter().filter(|one| one.order_id == ORDER).count(), 1);
    assert!(stage.document.statuses().contains(&DocumentStatus::Failed));
}

async fn a_job_that_waits_is_cancelled_at_once(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start_with(quire_clock::World::system(), |config| config.concurrency = 0).await;
    let job_id = service.start_paid().await;
    let job = service.cancel(&job_id).await;
    assert_eq!(job.status(), JobStatus::Cancelled);
    assert_eq!(service.cancel(&job_id).await, job);
    assert_whole(&service.events(&job_id, 0).await, 1, "cancelled");
    let settled = stage.payment.wait_settled(1).await;
    assert_eq!((settled[0].outcome(), settled[0].delivered_pages), (JobOutcome::Cancelled, 0));
}

async fn a_job_that_runs_is_cancelled_in_the_middle_of_a_section(backend: Backend) {
    let model = FakeModel::start(|asked, number| match asked {
        "1.1" => Reply::Hangs("Half a sentence that".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 1).await;
    assert_eq!(service.cancel(&job_id).await.status(), JobStatus::Running);
    service.cancel(&job_id).await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "cancelled");
    let settled = stage.payment.wait_settled(1).await;
    assert_eq!((settled[0].outcome(), settled[0].delivered_pages), (JobOutcome::Cancelled, 0));
    assert_eq!(stage.document.times_sent("1.1"), 0);
    assert_eq!(stage.document.told.lock().unwrap().exports, [], "there is nothing to deliver");
}

async fn a_finished_job_cannot_be_cancelled(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.events(&job_id, 0).await;
    assert_eq!(service.cancel(&job_id).await.status(), JobStatus::Completed);
    assert_eq!(stage.payment.wait_settled(1).await[0].outcome(), JobOutcome::Delivered);
    assert_eq!(stage.document.statuses(), [DocumentStatus::Generating, DocumentStatus::Completed]);
}

async fn a_settlement_is_repeated_until_payment_takes_it(backend: Backend) {
    let stage = Stage::digest(backend).await;
    stage.payment.refuse.lock().unwrap().extend([Status::unavailable("down"), Status::not_found("odd")]);
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.events(&job_id, 0).await;
    let settled = stage.payment.wait_settled(1).await;
    assert_eq!(settled[0].outcome(), JobOutcome::Delivered);
}

async fn a_settlement_stored_without_its_pages_is_sent_with_them(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let nowhere = "http://127.0.0.1:1".to_owned();
    let mut service =
        stage.start_with(quire_clock::World::system(), |config| config.payment_url = nowhere).await;
    let job_id = service.start_paid().await;
    service.events(&job_id, 0).await;
    service.kill();
    let payload = format!(r#"{{"order_id":"{ORDER}","outcome":"JOB_OUTCOME_DELIVERED"}}"#);
    stage.change_outbox(&format!("payload = '{payload}', next_at = 0 WHERE kind = 'settle'")).await;
    let _service = stage.start().await;
    let settled = stage.payment.wait_settled(1).await;
    assert_eq!((settled[0].outcome(), settled[0].delivered_pages), (JobOutcome::Delivered, 6));
}

async fn a_late_report_leaves_the_document_to_the_job_that_ended_it(backend: Backend) {
    let stage = Stage::digest(backend).await;
    *stage.document.ended.lock().unwrap() = true;
    let mut service = stage.start_with(quire_clock::World::system(), |config| config.concurrency = 0).await;
    let late = service.start_paid().await;
    service.cancel(&late).await;
    stage.payment.wait_settled(1).await;
    // The relay posts both messages in one pass, so that after one more pass nothing can come.
    let other = service.start_order("order-2", DOCUMENT, 6).await.unwrap().job_id;
    service.cancel(&other).await;
    stage.payment.wait_settled(2).await;
    let told = stage.document.told.lock().unwrap();
    assert_eq!(told.attached_late.first(), Some(&late));
    assert_eq!(told.attached_late.iter().filter(|id| **id == late).count(), 1);
    assert_eq!((told.attached.len(), told.reports.len()), (0, 0));
}

async fn a_character_without_a_glyph_is_replaced_and_named(backend: Backend) {
    let mut stage = Stage::digest(backend).await;
    stage.press = Arc::new(InProcessPress);
    stage.document.brief.lock().unwrap().document.as_mut().unwrap().title = "Paper 中 ink".to_owned();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let typesetting = of_kind(&events, "typesetting");
    assert_eq!(typesetting.len(), 2);
    assert_eq!(typesetting[1]["replaced"], serde_json::json!(["U+4E2D"]));
    let told = stage.document.told.lock().unwrap();
    let markdown = String::from_utf8(told.exports[1].1.clone()).unwrap();
    let title = markdown.lines().next().unwrap();
    assert!(["# Paper \u{fffd} ink", "# Paper ? ink"].contains(&title), "{title}");
}
