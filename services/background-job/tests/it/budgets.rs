//! Budgets while prices rise tenfold in the middle: they are never passed, and a raised one repeats nothing.

use std::collections::HashMap;

use quire_background_job::{Budgets, Config};
use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_testkit::Backend;
use tokio::sync::watch;

use crate::model::{FakeModel, KEYS, OUTLINE, Reply, plain};
use crate::stage::{Service, Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    a_job_s_budget_holds_while_prices_rise,
    jobs_that_run_together_share_the_budget_of_a_day,
);

const TOKENS: i64 = 10_000;
/// A dollar.
const DOLLAR: i64 = 1_000_000;
/// What a call costs at ten dollars for a million tokens.
const COST: i64 = DOLLAR / 10;

/// Says what is wanted, in so many tokens.
fn wordy(asked: &str) -> Reply {
    let text = if asked == "outline" { OUTLINE.to_owned() } else { plain(asked) };
    Reply::Counts(text, 0, TOKENS)
}

async fn start(stage: &Stage, dollars: i64, budgets: Budgets) -> Service {
    let start = stage.start_with(World::system(), |config: &mut Config| {
        config.concurrency = 4;
        config.jobs_per_user = 10;
        config.models.prices = format!("test-model=0/{dollars}").parse().unwrap();
        config.models.max_output_tokens = TOKENS.try_into().unwrap();
        config.models.budgets = budgets;
    });
    start.await
}

/// What is spent, and may still be spent by calls under way.
async fn claimed(stage: &Stage) -> i64 {
    let rows = stage.rows("cost_ledger", &["status", "cost_micro", "reserved_micro"], "id").await;
    let amount = |row: &Vec<String>| if row[0] == "open" { row[2].clone() } else { row[1].clone() };
    rows.iter().map(|row| amount(row).parse::<i64>().unwrap()).sum()
}

async fn a_job_s_budget_holds_while_prices_rise(backend: Backend) {
    let (release, released) = watch::channel(false);
    let model = FakeModel::start(move |asked, _| match asked {
        // A pause in the middle, in which the prices rise.
        "1.2" => {
            Reply::Waits("The text of section 1.2. ".to_owned(), released.clone(), "It is short.".to_owned())
        }
        asked => wordy(asked),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let of_job = |job| Budgets { job, ..Budgets::default() };
    let mut service = start(&stage, 10, of_job(DOLLAR)).await;
    let job_id = service.start_paid().await;
    let model = stage.model.as_ref().unwrap();
    model.was_asked("1.2").await;
    // It comes to its checkpoint while the service stops.
    let (_, sent) = tokio::join!(service.stop(), async { release.send(true) });
    sent.unwrap();
    let before = claimed(&stage).await;
    assert!((2 * COST..3 * COST).contains(&before), "{before}");

    let mut service = start(&stage, 100, of_job(DOLLAR)).await;
    let events = service.wait_for(&job_id, "paused", 1).await;
    assert_eq!(of_kind(&events, "paused")[0]["reason"], "budget_exhausted");
    assert_eq!(service.job(&job_id).await.status(), pb::JobStatus::Paused);
    assert_eq!((claimed(&stage).await, model.all_calls()), (before, 3));
    service.kill();

    // Enough for one more section at the new price, and then for both.
    for (budget, paused) in [(before + 10 * COST, 2), (before + 20 * COST, 0)] {
        let mut service = start(&stage, 100, of_job(budget)).await;
        match paused {
            0 => assert_whole(&service.events(&job_id, 0).await, 1, "completed"),
            paused => drop(service.wait_for(&job_id, "paused", paused).await),
        }
        assert!(claimed(&stage).await <= budget);
        service.kill();
    }
    assert_eq!(claimed(&stage).await, before + 20 * COST);
    assert_eq!((model.calls("outline"), KEYS.map(|key| model.calls(key))), (1, [1; 4]));
}

async fn jobs_that_run_together_share_the_budget_of_a_day(backend: Backend) {
    const JOBS: usize = 4;
    let stage = Stage::openai(backend, FakeModel::start(|asked, _| wordy(asked)).await).await;
    let model = stage.model.clone().unwrap();
    let of_day = |day| Budgets { day, ..Budgets::default() };
    // Not even enough for one of them.
    let budget = 4 * COST + COST / 2;
    let mut service = start(&stage, 10, of_day(budget)).await;
    let mut ids = Vec::new();
    for number in 0..JOBS {
        let (order, document) = (format!("order-{number}"), format!("document-{number}"));
        ids.push(service.start_order(&order, &document, 6).await.unwrap().job_id);
    }
    let exhausted = "budget_exhausted: the budget of this installation for today is used up";
    let mut seen = HashMap::new();
    all_wait(&mut service, &ids, &mut seen, exhausted, &stage, budget).await;
    assert_eq!((claimed(&stage).await, model.all_calls()), (4 * COST, 4));
    service.stop().await;

    // Tomorrow's prices: what is left of the budget holds no call at all.
    stage.change_jobs("run_at = 0").await;
    let mut service = start(&stage, 100, of_day(budget)).await;
    all_wait(&mut service, &ids, &mut seen, exhausted, &stage, budget).await;
    assert_eq!((claimed(&stage).await, model.all_calls()), (4 * COST, 4));
    service.stop().await;

    stage.change_jobs("run_at = 0").await;
    let mut service = start(&stage, 100, of_day(164 * COST)).await;
    for id in &ids {
        assert_whole(&service.events(id, 0).await, 1, "completed");
    }
    assert_eq!((claimed(&stage).await, model.all_calls()), (4 * COST + 16 * 10 * COST, 5 * JOBS));
}

/// Waits until every job has put itself off once more for this reason. All the while, the budget holds.
async fn all_wait(
    service: &mut Service,
    ids: &[String],
    seen: &mut HashMap<String, usize>,
    reason: &str,
    stage: &Stage,
    budget: i64,
) {
    for id in ids {
        let times = seen.entry(id.clone()).or_default();
        *times += 1;
        let waiting = service.wait_for(id, "retrying", *times);
        tokio::pin!(waiting);
        let events = loop {
            tokio::select! {
                events = &mut waiting => break events,
                claimed = claimed(stage) => assert!(claimed <= budget, "{claimed} of {budget}"),
            }
        };
        assert!(of_kind(&events, "retrying").iter().all(|retry| retry["reason"] == *reason), "{events:?}");
    }
}
