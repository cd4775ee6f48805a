//! Steps that do not succeed at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quire_clock::World;
use quire_proto::document::v1::DocumentStatus;
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
    a_document_service_that_is_away_costs_no_tries,
    a_document_service_that_stays_away_ends_the_job_after_a_day,
    a_document_that_is_ready_is_never_given_up,
    a_handing_over_that_broke_off_often_is_tried_again,
    a_model_that_lets_nobody_in_is_asked_again_later,
);

async fn an_overloaded_model_is_asked_again(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("1.2", 1) => Reply::Refuses(429, Some("0.01")),
        ("1.2", 2) => Reply::Refuses(503, None),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let retries = of_kind(&events, "retrying");
    assert_eq!(retries.iter().map(|retry| retry["retry"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(retries[0]["reason"], "waiting for the model, which answered 429");
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
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await.in_order();
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

/// Retries without a wait.
async fn impatient(stage: &Stage) -> crate::stage::Service {
    stage.start_with(World::system(), |config| config.retry_base = Duration::from_nanos(1)).await
}

async fn a_document_service_that_is_away_costs_no_tries(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await.in_order();
    let refusals = (0..10).map(|_| Status::unavailable("down"));
    stage.document.refuse_sections.lock().unwrap().extend(refusals);
    let mut service = impatient(&stage).await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let retries = of_kind(&events, "retrying");
    let numbers: Vec<i64> = retries.iter().map(|retry| retry["retry"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    assert_eq!(stage.model.as_ref().unwrap().calls("1.1"), 1);
    assert_eq!(stage.payment.wait_settled(1).await[0].outcome(), JobOutcome::Delivered);
}

async fn a_document_service_that_stays_away_ends_the_job_after_a_day(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await.in_order();
    let refusals = (0..20).map(|_| Status::unavailable("down"));
    stage.document.refuse_sections.lock().unwrap().extend(refusals);
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let job_id = service.start_paid().await;
    stage.change_jobs("stalls = 1000, stalled_since = 1").await;
    service.kill();
    // Steps that succeed make good what was noted before them; only then does the day pass.
    let mut service = stage.start_with(World::system(), |config| config.retry_base = Duration::MAX).await;
    let first = service.wait_for(&job_id, "retrying", 1).await;
    assert_eq!(of_kind(&first, "retrying")[0]["retry"], 1);
    stage.change_jobs("run_at = 0, stalled_since = 1").await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "failed");
    let failed = &of_kind(&events, "failed")[0];
    assert_eq!(failed["reason"], "unavailable");
    assert_eq!(
        failed["message"],
        "the step section did not succeed within 24 hours: document.PutSection: a part that is needed does not answer"
    );
    assert_eq!(stage.payment.wait_settled(1).await[0].outcome(), JobOutcome::Failed);
}

async fn a_document_that_is_ready_is_never_given_up(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let refusals = (0..9).map(|_| Status::unavailable("down")).chain([Status::not_found("odd")]);
    stage.document.refuse_completion.lock().unwrap().extend(refusals);
    let mut service = impatient(&stage).await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let retries = of_kind(&events, "retrying");
    assert_eq!(retries.len(), 10);
    assert!(retries.iter().all(|retry| retry["step"] == "finish"), "{retries:?}");
    assert_eq!(stage.payment.wait_settled(1).await[0].outcome(), JobOutcome::Delivered);
    assert_eq!(stage.document.statuses(), [DocumentStatus::Generating, DocumentStatus::Completed]);
}

async fn a_handing_over_that_broke_off_often_is_tried_again(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let job_id = service.start_paid().await;
    service.kill();
    // As a process leaves it that died at the last step, for the eighth time, long ago.
    stage
        .change_jobs(
            "status = 'running', step = 'finish', counted_pages = 6, crash_count = 7, step_retries = 7, \
             stalls = 2000, stalled_since = 1",
        )
        .await;
    stage.document.refuse_completion.lock().unwrap().extend([Status::unavailable("down")]);
    let mut service = impatient(&stage).await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let reasons: Vec<_> = of_kind(&events, "retrying").iter().map(|retry| retry["reason"].clone()).collect();
    assert_eq!(reasons, ["the work broke off", "document.ReportJob: a part that is needed does not answer"]);
    assert_eq!(stage.payment.wait_settled(1).await[0].outcome(), JobOutcome::Delivered);
}

async fn a_model_that_lets_nobody_in_is_asked_again_later(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("1.2", 1) => Reply::Refuses(401, None),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.wait_for(&job_id, "retrying", 1).await;
    let retrying = &of_kind(&events, "retrying")[0];
    assert!(retrying["delay_ms"].as_i64().unwrap() >= 300_000, "{retrying}");
    assert_eq!(
        retrying["reason"],
        "the language model's endpoint turns this installation away with status 401"
    );
    assert_eq!(service.job(&job_id).await.status(), JobStatus::Queued);
    stage.change_jobs("run_at = 0").await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    assert_eq!(stage.model.as_ref().unwrap().calls("1.2"), 2);
}
