//! What calls of models cost: every call is booked once, and no budget is passed.

use quire_background_job::{Budgets, ModelConfig};
use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_testkit::Backend;
use quire_testkit::model_server::USAGE;

use crate::model::{FakeModel, KEYS, Reply, willing};
use crate::stage::{OWNER, Service, Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    every_call_is_booked_with_what_the_provider_counted,
    a_model_without_a_price_is_not_asked,
    a_budget_is_never_passed_and_a_raised_one_lets_the_job_go_on,
    the_budgets_of_pages_users_and_days_hold_too,
    a_call_that_is_refused_costs_nothing,
    the_call_of_a_lost_attempt_is_wasted,
    the_call_of_a_cancelled_job_is_booked,
    an_estimate_comes_from_constants_until_jobs_have_been_measured,
);

/// Nothing for reading, two micro-dollars for each written token.
fn priced(config: &mut ModelConfig) {
    config.prices = "test-model=0/2".parse().unwrap();
    config.max_output_tokens = 100;
}
/// What a call of the played model then costs, and the most that it can cost.
const COST: i64 = 2 * USAGE.1;
const BOUND: i64 = 200;

/// Steps, statuses and costs in the order of the calls.
async fn ledger(stage: &Stage) -> Vec<(String, String, i64)> {
    let rows = stage.rows("cost_ledger", &["step_key", "status", "cost_micro"], "started_at, id").await;
    let read = |row: Vec<String>| (row[0].clone(), row[1].clone(), row[2].parse().unwrap());
    rows.into_iter().map(read).collect()
}

async fn spent(stage: &Stage) -> i64 {
    ledger(stage).await.iter().map(|(_, _, cost)| cost).sum()
}

async fn every_call_is_booked_with_what_the_provider_counted(backend: Backend) {
    for writer in ["openai", "anthropic"] {
        let model = FakeModel::start(|asked, number| match asked {
            "1.2" => Reply::Counts("Wood came later.".to_owned(), 3_000_000, 1_500_000),
            _ => willing(asked, number),
        });
        let stage = Stage::new(backend, writer, Some(model.await)).await.in_order();
        let prices = "test-model=1.5/2".parse().unwrap();
        let mut service = stage.start_with(World::system(), |config| config.models.prices = prices).await;
        let job_id = service.start_paid().await;
        assert_whole(&service.events(&job_id, 0).await, 1, "completed");
        let steps = ["plan", "section:1.1", "section:1.2", "section:2.1", "section:2.2"];
        let booked = steps.map(|step| {
            let cost = if step == "section:1.2" { 4_500_000 + 3_000_000 } else { 150 + 40 };
            (step.to_owned(), "settled".to_owned(), cost)
        });
        assert_eq!(ledger(&stage).await, booked, "{writer}");
    }
}

async fn a_model_without_a_price_is_not_asked(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let prices = "another-model=0".parse().unwrap();
    let mut service = stage.start_with(World::system(), |config| config.models.prices = prices).await;
    let job_id = service.start_paid().await;
    let events = service.wait_for(&job_id, "retrying", 1).await;
    let reason = of_kind(&events, "retrying")[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("test-model") && reason.contains("QUIRE_MODEL_PRICES"), "{reason}");
    service.kill();
    let mut service = stage.start().await;
    stage.change_jobs("run_at = 0").await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    let model = stage.model.as_ref().unwrap();
    assert_eq!((model.all_calls(), spent(&stage).await), (1 + KEYS.len(), 0));
}

async fn a_budget_is_never_passed_and_a_raised_one_lets_the_job_go_on(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    // Room for the outline and two sections, and then for less than the most that a third one can cost.
    let budget = 2 * COST + BOUND;
    let mut service = stage
        .start_with(World::system(), |config| {
            priced(&mut config.models);
            config.models.budgets = Budgets { job: budget, ..Budgets::default() };
        })
        .await;
    let job_id = service.start_paid().await;
    let events = service.wait_for(&job_id, "paused", 1).await;
    assert_eq!(of_kind(&events, "paused")[0]["reason"], "budget_exhausted");
    let job = service.job(&job_id).await;
    assert_eq!((job.status(), job.attempt), (pb::JobStatus::Paused, 0));
    assert_eq!(spent(&stage).await, 3 * COST);
    assert!(spent(&stage).await <= budget);
    service.kill();

    let mut service = stage
        .start_with(World::system(), |config| {
            priced(&mut config.models);
            config.models.budgets = Budgets { job: budget + 2 * COST, ..Budgets::default() };
        })
        .await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(of_kind(&events, "resumed").len(), 1);
    let model = stage.model.as_ref().unwrap();
    assert_eq!(KEYS.map(|key| model.calls(key)), [1; 4]);
    assert_eq!((model.calls("outline"), spent(&stage).await), (1, 5 * COST));
}

async fn the_budgets_of_pages_users_and_days_hold_too(backend: Backend) {
    let of_user = "budget_exhausted: the budget of this user for today is used up";
    let of_all = "budget_exhausted: the budget of this installation for today is used up";
    for (budgets, kind, reason) in [
        (Budgets { user_day: BOUND - 1, ..Budgets::default() }, "retrying", of_user),
        (Budgets { day: BOUND - 1, ..Budgets::default() }, "retrying", of_all),
        (Budgets { page: (BOUND - 1) / 6, ..Budgets::default() }, "paused", "budget_exhausted"),
    ] {
        let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
        let mut service = stage
            .start_with(World::system(), |config| {
                priced(&mut config.models);
                config.models.budgets = budgets;
            })
            .await;
        let job_id = service.start_paid().await;
        let events = service.wait_for(&job_id, kind, 1).await;
        assert_eq!(of_kind(&events, kind)[0]["reason"], reason);
        assert_eq!(stage.model.as_ref().unwrap().all_calls(), 0);
    }
}

async fn a_call_that_is_refused_costs_nothing(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("1.1", 1) => Reply::Refuses(503, None),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start_with(World::system(), |config| priced(&mut config.models)).await;
    let job_id = service.start_paid().await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    assert_eq!(ledger(&stage).await.len(), 5);
    assert_eq!(spent(&stage).await, 5 * COST);
}

/// Hangs in the middle of section 2.1 when it is asked for the first time.
fn hanging(asked: &str, number: usize) -> Reply {
    match (asked, number) {
        ("2.1", 1) => Reply::Hangs("This half is never".to_owned()),
        _ => willing(asked, number),
    }
}

async fn the_call_of_a_lost_attempt_is_wasted(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(hanging).await).await.in_order();
    let mut service = stage.start_with(World::system(), |config| priced(&mut config.models)).await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 3).await;
    service.kill();
    let mut service = stage.start_with(World::system(), |config| priced(&mut config.models)).await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    let rows = stage.rows("cost_ledger", &["step_key", "status", "epoch"], "started_at, id").await;
    let wasted: Vec<_> = rows.iter().filter(|row| row[1] == "wasted").collect();
    assert_eq!(wasted, [&["section:2.1", "wasted", "1"]]);
    assert!(rows.iter().all(|row| row[1] == "wasted" || row[1] == "settled"), "{rows:?}");
    assert_eq!(rows.len(), 6);
}

async fn the_call_of_a_cancelled_job_is_booked(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(hanging).await).await.in_order();
    let mut service = stage.start_with(World::system(), |config| priced(&mut config.models)).await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 3).await;
    service.cancel(&job_id).await;
    assert_whole(&service.events(&job_id, 0).await, 1, "cancelled");
    let statuses: Vec<String> = ledger(&stage).await.into_iter().map(|(_, status, _)| status).collect();
    assert_eq!(statuses, ["settled", "settled", "settled", "estimated"]);
    assert_eq!(stage.rows("job_chunks", &["step_key"], "start").await.len(), 0);
    assert_eq!(stage.model.as_ref().unwrap().all_calls(), 4);
}

async fn an_estimate_comes_from_constants_until_jobs_have_been_measured(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let prices = "test-model=1/2".parse().unwrap();
    let mut service = stage
        .start_with(World::system(), |config| {
            config.models.prices = prices;
            config.models.anthropic = None;
        })
        .await;
    let request = service.as_user(OWNER, pb::ListModelsRequest {});
    let models = service.client.list_models(request).await.unwrap().into_inner().models;
    let price = Some(pb::ModelPrice { input_micro: 1_000_000, output_micro: 2_000_000 });
    let model = |writer: &str, model: &str, price| pb::WriterModel {
        writer: writer.to_owned(),
        model: model.to_owned(),
        price,
    };
    let free = Some(pb::ModelPrice::default());
    assert_eq!(models, [model("digest", "", free), model("openai", "test-model", price)]);

    let before = estimate(&mut service, "openai", 10).await.unwrap();
    assert_eq!((before.measured_jobs, before.input_tokens, before.output_tokens), (0, 26_000, 6_500));
    assert_eq!(before.cost_micro, Some(26_000 + 13_000));
    for number in 0..3 {
        let (order, document) = (format!("order-{number}"), format!("document-{number}"));
        let job_id = service.start_order(&order, &document, 6).await.unwrap().job_id;
        service.events(&job_id, 0).await;
    }
    let after = estimate(&mut service, "openai", 12).await.unwrap();
    let calls = i64::try_from(1 + KEYS.len()).unwrap();
    let expected = (2 * calls * USAGE.0, 2 * calls * USAGE.1);
    assert_eq!((after.input_tokens, after.output_tokens, after.measured_jobs), (expected.0, expected.1, 3));
    assert_eq!(after.cost_micro, Some(expected.0 + 2 * expected.1));
    assert_eq!(estimate(&mut service, "digest", 12).await.unwrap().cost_micro, Some(0));

    for (writer, pages) in [("anthropic", 10), ("openai", 0), ("openai", i32::MAX)] {
        let refused = estimate(&mut service, writer, pages).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{writer} {pages}");
    }
}

async fn estimate(
    service: &mut Service,
    writer: &str,
    pages: i32,
) -> Result<pb::EstimateCostResponse, tonic::Status> {
    let message = pb::EstimateCostRequest { pages, writer: writer.to_owned() };
    let request = service.as_user(OWNER, message);
    Ok(service.client.estimate_cost(request).await?.into_inner())
}
