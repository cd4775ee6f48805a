//! A model that cannot write, and another one that the order lets stand in for it.

use std::sync::Arc;
use std::time::Duration;

use quire_background_job::{Budgets, Config, ModelSettings};
use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_testkit::Backend;
use quire_testkit::model_server::USAGE;

use crate::model::{FakeModel, KEYS, Reply, plain, willing};
use crate::press::FixedPress;
use crate::replay::replay;
use crate::stage::{Service, Stage, assert_whole, followed_text, of_kind};

quire_testkit::on_both_databases!(
    a_section_that_the_model_refuses_is_written_by_the_one_that_may_step_in,
    a_model_that_is_away_for_too_long_is_replaced_and_asked_first_for_the_next_section,
    a_model_that_fails_too_often_is_replaced,
    an_outline_is_made_by_another_model_too,
    nobody_steps_in_who_is_not_allowed_or_has_no_price,
    a_budget_is_no_reason_to_ask_another_model,
);

const HOUR: i64 = 3_600_000_000;
/// Of the model that was ordered and of the other one, for each written token.
const PRICES: (i64, i64) = (2, 3);

/// A stage whose order lets the second model stand in for the first, and the second model.
async fn stage(
    backend: Backend,
    ordered: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
) -> (Stage, FakeModel, Arc<FixedPress>) {
    let press = Arc::new(FixedPress::pages(6));
    let mut stage = Stage::openai(backend, FakeModel::start(ordered).await).await.in_order();
    stage.press = press.clone();
    allow(&stage, &["anthropic"]);
    let other = FakeModel::start(|asked, number| match asked {
        "outline" => willing(asked, number),
        key => Reply::says(&by_the_other(key)),
    });
    (stage, other.await, press)
}

fn allow(stage: &Stage, writers: &[&str]) {
    let mut brief = stage.document.brief.lock().unwrap();
    brief.document.as_mut().unwrap().fallback_writers =
        writers.iter().map(|writer| (*writer).to_owned()).collect();
}

fn by_the_other(key: &str) -> String {
    format!("Section {key} by another hand.")
}

async fn start(stage: &Stage, other: &FakeModel, tweak: impl FnOnce(&mut Config)) -> Service {
    let start = stage.start_with(World::system(), |config| {
        config.models.anthropic = Some(ModelSettings {
            base_url: other.url.parse().unwrap(),
            model: "other-model".to_owned(),
            api_key: Some("key".to_owned().into()),
        });
        config.models.prices =
            format!("test-model=0/{},other-model=0/{}", PRICES.0, PRICES.1).parse().unwrap();
        tweak(config);
    });
    start.await
}

/// Who wrote the sections, as the document service was told, in their order.
fn writers(stage: &Stage) -> Vec<(String, String)> {
    let told = stage.document.told.lock().unwrap();
    told.sections.iter().map(|sent| (sent.key.clone(), sent.writer.clone())).collect()
}

/// Who wrote them, as everybody must be told who asks: the document, the events and the timeline.
async fn all_name(stage: &Stage, service: &mut Service, job_id: &str, expected: [&str; 4]) {
    let expected: Vec<(String, String)> =
        KEYS.iter().zip(expected).map(|(key, writer)| ((*key).to_owned(), writer.to_owned())).collect();
    assert_eq!(writers(stage), expected);
    let events = service.events(job_id, 0).await;
    let done = of_kind(&events, "section_done");
    let told = done
        .iter()
        .map(|done| (done["key"].as_str().unwrap().to_owned(), done["writer"].as_str().unwrap().to_owned()));
    assert_eq!(told.collect::<Vec<_>>(), expected);
    let request = service.as_admin(pb::GetJobTimelineRequest { job_id: job_id.to_owned() });
    let timeline = service.client.get_job_timeline(request).await.unwrap().into_inner();
    for (key, writer) in expected {
        let step = timeline.steps.iter().find(|step| step.key == format!("section:{key}")).unwrap();
        assert_eq!((step.status.as_str(), &step.writer), ("done", &writer));
    }
}

async fn a_section_that_the_model_refuses_is_written_by_the_one_that_may_step_in(backend: Backend) {
    let refusing = |asked: &str, number| match (asked, number) {
        ("1.2", 1) => Reply::BreaksOff("This half is never ".to_owned()),
        ("1.2", _) => Reply::Refuses(400, None),
        _ => willing(asked, number),
    };
    let (stage, other, press) = stage(backend, refusing).await;
    let mut service = start(&stage, &other, |_| {}).await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let names = ["test-model", "other-model", "test-model", "test-model"];
    all_name(&stage, &mut service, &job_id, names).await;
    assert!(replay(&stage, &mut service, &job_id).await.unwrap().reproduced, "by the same hands");
    let fallback = of_kind(&events, "fallback");
    assert_eq!(fallback.len(), 1);
    for (field, expected) in
        [("step", "section:1.2"), ("from", "openai"), ("to", "anthropic"), ("reason", "refused")]
    {
        assert_eq!(fallback[0][field], expected);
    }
    assert!(fallback[0]["message"].as_str().unwrap().contains("status 400"), "{fallback:?}");
    // Nothing of the first one's half is in it, and it is no secret who wrote.
    assert_eq!(followed_text(&events, "1.2"), by_the_other("1.2"));
    assert_eq!(followed_text(&events, "2.1"), plain("2.1"));
    assert!(!other.requests()[0].to_string().contains("This half is never"));
    let book = press.books.lock().unwrap()[0].clone();
    assert_eq!(book.meta.disclosure, "This text was written by language models (test-model, other-model).");
    // The half that was dropped is paid.
    let rows = stage.rows("cost_ledger", &["model", "step_key", "status"], "started_at, id").await;
    let of_section: Vec<_> = rows.iter().filter(|row| row[1] == "section:1.2").collect();
    assert_eq!(
        of_section,
        [&["test-model", "section:1.2", "estimated"], &["other-model", "section:1.2", "settled"],]
    );
    assert_eq!(rows.len(), 6);
}

async fn a_model_that_is_away_for_too_long_is_replaced_and_asked_first_for_the_next_section(
    backend: Backend,
) {
    let away = |asked: &str, number| match asked {
        "1.1" | "2.1" => Reply::Refuses(429, Some("0.01")),
        _ => willing(asked, number),
    };
    let (stage, other, _) = stage(backend, away).await;
    let patient = |config: &mut Config| config.models.fallback_after = Duration::from_secs(3600);
    let mut service = start(&stage, &other, patient).await;
    let job_id = service.start_paid().await;
    let events = service.wait_for(&job_id, "retrying", 3).await;
    assert_eq!((of_kind(&events, "fallback").len(), other.all_calls()), (0, 0));
    service.kill();
    // The hour is over while nobody looks; it began with the first refusal, in an attempt before.
    stage.change_steps(&format!("refused_at = refused_at - {HOUR}")).await;
    let mut service = start(&stage, &other, patient).await;
    let events = service.wait_for(&job_id, "section_done", 2).await;
    let fallback = of_kind(&events, "fallback");
    assert_eq!(
        (&fallback[0]["reason"], &fallback[0]["step"]),
        (&"unavailable".into(), &"section:1.1".into())
    );
    // The next one that it does not write is waited for anew.
    let model = stage.model.as_ref().unwrap();
    model.was_asked_times("2.1", 2).await;
    assert_eq!((model.calls("1.2"), other.all_calls()), (1, 1));
    service.kill();
    stage.change_steps(&format!("refused_at = refused_at - {HOUR}")).await;
    let mut service = start(&stage, &other, patient).await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    let names = ["other-model", "test-model", "other-model", "test-model"];
    all_name(&stage, &mut service, &job_id, names).await;
}

async fn a_model_that_fails_too_often_is_replaced(backend: Backend) {
    let failing = |asked: &str, number| match asked {
        "2.2" => Reply::Refuses(503, None),
        _ => willing(asked, number),
    };
    let (stage, other, _) = stage(backend, failing).await;
    let mut service = start(&stage, &other, |_| {}).await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(of_kind(&events, "fallback")[0]["reason"], "retries_exhausted");
    assert_eq!(stage.model.as_ref().unwrap().calls("2.2"), 8);
    let names = ["test-model", "test-model", "test-model", "other-model"];
    all_name(&stage, &mut service, &job_id, names).await;
}

async fn an_outline_is_made_by_another_model_too(backend: Backend) {
    let speechless = |asked: &str, number| match asked {
        "outline" => Reply::says("I would rather not."),
        _ => willing(asked, number),
    };
    let (stage, other, _) = stage(backend, speechless).await;
    let mut service = start(&stage, &other, |_| {}).await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let fallback = of_kind(&events, "fallback");
    assert_eq!((&fallback[0]["step"], &fallback[0]["reason"]), (&"plan".into(), &"refused".into()));
    assert_eq!(other.all_calls(), 1);
    all_name(&stage, &mut service, &job_id, ["test-model"; 4]).await;
}

async fn nobody_steps_in_who_is_not_allowed_or_has_no_price(backend: Backend) {
    for allowed in [false, true] {
        let refusing = |asked: &str, number| match asked {
            "1.2" => Reply::Refuses(400, None),
            _ => willing(asked, number),
        };
        let (stage, other, _) = stage(backend, refusing).await;
        if !allowed {
            allow(&stage, &[]);
        }
        let unpriced = |config: &mut Config| {
            if allowed {
                config.models.prices = "test-model=0".parse().unwrap();
            }
        };
        let mut service = start(&stage, &other, unpriced).await;
        let job_id = service.start_paid().await;
        let events = service.events(&job_id, 0).await;
        assert_whole(&events, 1, "failed");
        assert_eq!(of_kind(&events, "failed")[0]["reason"], "model_refused");
        assert_eq!((of_kind(&events, "fallback").len(), other.all_calls()), (0, 0));
    }
}

async fn a_budget_is_no_reason_to_ask_another_model(backend: Backend) {
    let (stage, other, _) = stage(backend, willing).await;
    let mut service = start(&stage, &other, |config| {
        config.models.max_output_tokens = 100;
        config.models.fallback_after = Duration::ZERO;
        // Enough for the outline only.
        let bound = 100 * PRICES.0;
        config.models.budgets = Budgets { job: bound + PRICES.0 * USAGE.1 - 1, ..Budgets::default() };
    })
    .await;
    let job_id = service.start_paid().await;
    let events = service.wait_for(&job_id, "paused", 1).await;
    assert_eq!(of_kind(&events, "paused")[0]["reason"], "budget_exhausted");
    assert_eq!((of_kind(&events, "fallback").len(), other.all_calls()), (0, 0));
}
