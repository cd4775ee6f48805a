//! Writing jobs once more from their recorded calls.

use std::time::Duration;

use quire_background_job::Config;
use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::ReplayVerdict as Verdict;
use quire_testkit::Backend;
use tonic::{Code, Request, Status};

use crate::model::{FakeModel, Reply, willing};
use crate::stage::{OWNER, Service, Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    a_finished_job_is_the_same_without_a_model,
    a_job_whose_worker_died_is_the_same_too,
    a_failed_job_fails_again_in_the_same_way,
    a_changed_recording_is_told,
    a_digest_is_composed_once_more,
    recordings_go_with_the_events,
    only_operators_replay,
);

pub async fn replay(
    stage: &Stage,
    service: &mut Service,
    job_id: &str,
) -> Result<pb::ReplayJobResponse, Status> {
    let mut request = Request::new(pb::ReplayJobRequest { job_id: job_id.to_owned(), with_markdown: true });
    stage.sign("operator", &mut request);
    Ok(service.client.replay_job(request).await?.into_inner())
}

/// Nothing answers at the model's address.
fn without_model(config: &mut Config) {
    for model in [&mut config.models.openai, &mut config.models.anthropic] {
        model.as_mut().unwrap().base_url = "http://127.0.0.1:9/v1".parse().unwrap();
    }
}

/// Steps and what became of them.
fn verdicts(report: &pb::ReplayJobResponse) -> Vec<(&str, Verdict, i32)> {
    report.steps.iter().map(|step| (step.key.as_str(), step.verdict(), step.calls)).collect()
}

/// Everything that is stored about jobs.
async fn everything(stage: &Stage) -> Vec<Vec<Vec<String>>> {
    let mut all = Vec::new();
    for (table, columns, order) in [
        ("jobs", ["status", "last_seq", "attempt"], "id"),
        ("job_steps", ["step_key", "status", "epoch"], "job_id, step_key"),
        ("job_events", ["kind", "data", "seq"], "job_id, seq"),
        ("cost_ledger", ["status", "cost_micro", "step_key"], "id"),
        ("job_recordings", ["ordinal", "request_hash", "ending"], "job_id, ordinal"),
    ] {
        all.push(stage.rows(table, &columns, order).await);
    }
    all
}

async fn a_finished_job_is_the_same_without_a_model(backend: Backend) {
    for writer in ["openai", "anthropic"] {
        let model = FakeModel::start(|asked, number| match (asked, number) {
            ("outline", 1) => Reply::says("Gladly! First, a chapter on paper."),
            ("1.1", 1) => Reply::Cut("The press was made of wood and then".to_owned()),
            ("1.1", 2) => Reply::Refuses(503, None),
            ("1.1", 3) => Reply::says("of wood and then of iron."),
            ("1.2", 1) => Reply::says("Paper is old [S9 p. 3]. It was made of rags [S1]."),
            ("1.2", _) => Reply::says("It was made of rags [S2]."),
            ("2.1", 1) => Reply::BreaksOff("Soot was the first ink. It was ground ".to_owned()),
            ("2.1", _) => Reply::says("It was ground finely."),
            ("2.2", 1) => Reply::Garbles("Oil came".to_owned()),
            _ => willing(asked, number),
        });
        let stage = Stage::new(backend, writer, Some(model.await)).await;
        let mut service = stage.start().await;
        let job_id = service.start_paid().await;
        assert_whole(&service.events(&job_id, 0).await, 1, "completed");
        stage.payment.wait_settled(1).await;
        service.stop().await;
        let model = stage.model.as_ref().unwrap();
        let (calls, sent) = (model.all_calls(), stage.document.told.lock().unwrap().sections.len());
        let mut service = stage.start_with(World::system(), without_model).await;
        let before = everything(&stage).await;

        let report = replay(&stage, &mut service, &job_id).await.unwrap();
        let expected = [
            ("plan", Verdict::Same, 2),
            ("section:1.1", Verdict::Same, 3),
            ("section:1.2", Verdict::Same, 2),
            ("section:2.1", Verdict::Same, 2),
            ("section:2.2", Verdict::Same, 2),
        ];
        assert_eq!(verdicts(&report), expected, "{writer} {report:#?}");
        assert!(report.reproduced);
        assert!(
            report.markdown.contains("The press was made of wood and then of iron."),
            "{}",
            report.markdown
        );
        assert_eq!((model.all_calls(), everything(&stage).await), (calls, before));
        assert_eq!(stage.document.told.lock().unwrap().sections.len(), sent);
    }
}

async fn a_job_whose_worker_died_is_the_same_too(backend: Backend) {
    // More than is stored at once.
    let first: String =
        (0..80).map(|number| format!("Sheet {number} was laid on pile {}. ", number * 7)).collect();
    let begun = first.clone();
    let model = FakeModel::start(move |asked, number| match (asked, number) {
        ("1.1", 1) => Reply::Hangs(begun.clone()),
        ("1.1", _) => Reply::says("Then all was dry."),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    while stage.rows("job_chunks", &["start"], "start").await.is_empty() {}
    service.kill();
    let mut service = stage.start_with(World::system(), |_| {}).await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    service.stop().await;

    let mut service = stage.start_with(World::system(), without_model).await;
    let report = replay(&stage, &mut service, &job_id).await.unwrap();
    assert!(report.reproduced, "{report:#?}");
    assert_eq!(verdicts(&report)[1], ("section:1.1", Verdict::Same, 2));
}

async fn a_failed_job_fails_again_in_the_same_way(backend: Backend) {
    // An outline that cannot be used, a section that does not succeed in eight tries, and one that is refused.
    for (asked_for, reply, step, calls) in [
        ("outline", Reply::says("I would rather not."), "plan", 2),
        ("1.2", Reply::Refuses(500, None), "section:1.2", 8),
        ("2.1", Reply::Refuses(400, None), "section:2.1", 1),
    ] {
        let model = FakeModel::start(move |asked, number| match asked {
            asked if asked == asked_for => reply.clone(),
            _ => willing(asked, number),
        });
        let stage = Stage::openai(backend, model.await).await;
        let mut service = stage.start().await;
        let job_id = service.start_paid().await;
        let events = service.events(&job_id, 0).await;
        assert_whole(&events, 1, "failed");
        let failure = of_kind(&events, "failed")[0]["message"].as_str().unwrap().to_owned();
        service.stop().await;

        let mut service = stage.start_with(World::system(), without_model).await;
        let report = replay(&stage, &mut service, &job_id).await.unwrap();
        let last = report.steps.last().unwrap();
        assert_eq!((last.key.as_str(), last.verdict(), last.calls), (step, Verdict::Failed, calls));
        assert!(failure.contains(&last.detail), "`{}` is not `{failure}`", last.detail);
        assert!(report.reproduced, "{report:#?}");
    }
}

async fn a_changed_recording_is_told(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");

    stage.change_recordings("answer = 'Another text.' WHERE step_key = 'section:1.2'").await;
    let report = replay(&stage, &mut service, &job_id).await.unwrap();
    let keys = ["plan", "section:1.1", "section:1.2", "section:2.1", "section:2.2"];
    // What comes after it is told of it.
    let expected =
        [Verdict::Same, Verdict::Same, Verdict::Differs, Verdict::PromptChanged, Verdict::PromptChanged];
    let found: Vec<_> = verdicts(&report).into_iter().map(|(key, verdict, _)| (key, verdict)).collect();
    assert_eq!(found, keys.into_iter().zip(expected).collect::<Vec<_>>(), "{report:#?}");
    assert!(report.steps[2].detail.contains("now `Another text."), "{}", report.steps[2].detail);
    assert!(report.steps[3].detail.starts_with("the prompt changed: hash "), "{}", report.steps[3].detail);
    assert!(!report.reproduced);

    // The text of a step that cannot be done is taken as it is stored.
    assert!(report.markdown.contains("The text of section 2.1."), "{}", report.markdown);
    stage.change_recordings("request_hash = 'x', job_id = 'other' WHERE step_key = 'plan'").await;
    let report = replay(&stage, &mut service, &job_id).await.unwrap();
    assert_eq!(verdicts(&report)[0], ("plan", Verdict::NoRecording, 0));
    assert!(!report.reproduced);
}

async fn a_digest_is_composed_once_more(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    let report = replay(&stage, &mut service, &job_id).await.unwrap();
    assert!(report.reproduced && report.steps.len() > 1, "{:?}", report.steps);
    assert!(report.steps.iter().all(|step| step.verdict() == Verdict::Same && step.calls == 0));
    assert!(report.markdown.starts_with("# Paper and ink"), "{}", report.markdown);
}

async fn recordings_go_with_the_events(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.events(&job_id, 0).await;
    let recordings = async || stage.rows("job_recordings", &["step_key", "answer"], "ordinal").await;
    let recorded = recordings().await;
    assert_eq!(recorded.len(), 5);
    assert_eq!(recorded[1], ["section:1.1", "The text of section 1.1. It is *short*."]);
    service.stop().await;
    let keep_nothing = |config: &mut Config| config.events_retention = Duration::ZERO;
    let mut service = stage.start_with(World::system(), keep_nothing).await;
    while !recordings().await.is_empty() {}
    let report = replay(&stage, &mut service, &job_id).await.unwrap();
    assert_eq!(verdicts(&report), [("plan", Verdict::NoRecording, 0)]);
    assert!(!report.reproduced);
}

async fn only_operators_replay(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let job_id = service.start_paid().await;
    let message = pb::ReplayJobRequest { job_id: job_id.clone(), with_markdown: false };
    let request = service.as_user(OWNER, message.clone());
    assert_eq!(service.client.replay_job(request).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(replay(&stage, &mut service, "nothing").await.unwrap_err().code(), Code::NotFound);
    // One that nobody has begun can be written all the same.
    let request = service.as_admin(message);
    let report = service.client.replay_job(request).await.unwrap().into_inner();
    assert!(report.steps.iter().all(|step| step.verdict() == Verdict::Written), "{report:#?}");
    assert!(!report.reproduced && report.markdown.is_empty());
}
