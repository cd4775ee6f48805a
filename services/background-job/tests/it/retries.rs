//! Steps that do not succeed at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quire_proto::job::v1::JobStatus;
use quire_proto::payment::v1::JobOutcome;
use quire_testkit::Backend;
use tonic::Status;

use crate::model::{FakeModel, KEYS, Reply, willing};
use crate::press::BrokenPress;
use crate::stage::{Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    an_overloaded_model_is_asked_again,
    a_step_is_tried_eight_times,
    a_section_that_document_does_not_take_is_not_written_again,
    a_step_that_breaks_the_worker_three_times_ends_the_job,
);

async fn an_overloaded_model_is_asked_again(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("1.2", 1) => Reply::Refuses(429, Some("0.01")),
        ("1.2", 2) => Reply::Refuses(503, None),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let retries = of_kind(&events, "retrying");
    assert_eq!(retries.iter().map(|retry| retry["retry"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(retries[0]["reason"], "the model's endpoint answered 429");
    assert!(retries[0]["delay_ms"].as_i64().unwrap() >= 10);
    let model = stage.model.as_ref().unwrap();
    assert_eq!(KEYS.map(|key| model.calls(key)), [1, 3, 1, 1]);
    assert_eq!(service.job(&job_id).await.attempt, 3);
}

async fn a_step_is_tried_eight_times(backend: Backend) {
    let model = FakeModel::start(|asked, number| match asked {
        "1.1" => Reply::Refuses(500, None),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "failed");
    assert_eq!(of_kind(&events, "failed")[0]["reason"], "retries_exhausted");
    assert_eq!(stage.model.as_ref().unwrap().calls("1.1"), 8);
    assert_eq!(stage.payment.wait_settled(1).await[0].outcome(), JobOutcome::Failed);
}

async fn a_section_that_document_does_not_take_is_not_written_again(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    stage
        .document
        .refuse_sections
        .lock()
        .unwrap()
        .extend([Status::unavailable("down"), Status::internal("odd")]);
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(stage.model.as_ref().unwrap().calls("1.1"), 1);
    assert_eq!(stage.document.times_sent("1.1"), 1);
    assert_eq!(of_kind(&events, "retrying").len(), 2);
    assert_eq!(of_kind(&events, "section_started").len(), KEYS.len());
}

async fn a_step_that_breaks_the_worker_three_times_ends_the_job(backend: Backend) {
    let press = Arc::new(BrokenPress::default());
    let mut stage = Stage::digest(backend).await;
    stage.press = press.clone();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "failed");
    assert_eq!(of_kind(&events, "failed")[0]["reason"], "poison");
    assert_eq!(press.tries.load(Ordering::SeqCst), 3);
    assert_eq!(service.job(&job_id).await.status(), JobStatus::Failed);
    assert_eq!(stage.payment.wait_settled(1).await[0].outcome(), JobOutcome::Failed);
}
