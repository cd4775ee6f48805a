//! What operators see of jobs and money, as whoever scrapes it sees it.

use quire_background_job::Config;
use quire_clock::World;
use quire_serve::metrics::Metrics;
use quire_testkit::Backend;
use quire_testkit::model_server::USAGE;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::model::{FakeModel, Reply, willing};
use crate::stage::{Service, Stage, assert_whole};

quire_testkit::on_both_databases!(
    wasted_money_is_shown_and_survives_restarts,
    what_is_under_way_and_what_waits_is_shown,
    a_busy_model_and_a_redis_out_of_reach_are_shown,
);

/// Two micro-dollars for each written token, at most a hundred of them.
const COST: i64 = 2 * USAGE.1;
const BOUND: i64 = 200;

/// A service and the address of its metrics.
async fn start(stage: &Stage, tweak: impl FnOnce(&mut Config)) -> (Service, String) {
    let metrics = Metrics::default();
    let shown = metrics.clone();
    let start = stage.start_with(World::system(), |config| {
        config.metrics = metrics;
        config.models.prices = "test-model=0/2".parse().unwrap();
        config.models.max_output_tokens = 100;
        tweak(config);
    });
    let service = start.await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    tokio::spawn(shown.serve(listener, CancellationToken::new()));
    (service, url)
}

/// Reads the page until all these stand on it, and then gives it.
async fn shows(url: &str, expected: &[(&str, i64)]) -> String {
    loop {
        let page = reqwest::get(url).await.unwrap().text().await.unwrap();
        if expected.iter().all(|(name, number)| value(&page, name) == Some(*number as f64)) {
            return page;
        }
        tokio::task::yield_now().await;
    }
}

/// The value of a metric of the service.
fn value(page: &str, name: &str) -> Option<f64> {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("quire_background_job_")?.strip_prefix(name)?.strip_prefix(' '));
    line?.parse().ok()
}

async fn wasted_money_is_shown_and_survives_restarts(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("2.1", 1) => Reply::Hangs("This half is never".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let (mut service, _) = start(&stage, |_| {}).await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 3).await;
    service.kill();
    let (mut service, url) = start(&stage, |_| {}).await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    let rows = stage.rows("cost_ledger", &["status", "cost_micro"], "id").await;
    let wasted: i64 =
        rows.iter().filter(|row| row[0] == "wasted").map(|row| row[1].parse::<i64>().unwrap()).sum();
    let spent = [
        ("jobs{status=\"completed\"}", 1),
        ("jobs{status=\"queued\"}", 0),
        ("wasted_spend_micro_total{model=\"test-model\"}", wasted),
        ("wasted_spend_micro_total{model=\"other\"}", 0),
        ("spend_micro_total{model=\"test-model\"}", 5 * COST + wasted),
        ("reserved_micro", 0),
    ];
    let page = shows(&url, &spent).await;
    assert_eq!(value(&page, "claims_total{kind=\"taken_over\"}"), Some(1.0), "{page}");
    assert!(
        value(&page, "tokens_total{model=\"test-model\",direction=\"input\"}").unwrap() >= 500.0,
        "{page}"
    );
    service.stop().await;
    // Under another model's name, what the old one cost is still there.
    let (_service, url) = start(&stage, |config| {
        for model in [&mut config.models.openai, &mut config.models.anthropic] {
            model.as_mut().unwrap().model = "newer-model".to_owned();
        }
    })
    .await;
    let page = shows(
        &url,
        &[
            ("wasted_spend_micro_total{model=\"other\"}", wasted),
            ("spend_micro_total{model=\"other\"}", 5 * COST + wasted),
            ("spend_micro_total{model=\"newer-model\"}", 0),
        ],
    )
    .await;
    assert!(!page.contains("test-model") && !page.contains(&job_id), "{page}");
}

async fn what_is_under_way_and_what_waits_is_shown(backend: Backend) {
    let model = FakeModel::start(|asked, number| match asked {
        "1.1" => Reply::Hangs("For ever".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let (mut service, url) = start(&stage, |config| config.concurrency = 1).await;
    service.start_order("order-1", "document-1", 6).await.unwrap();
    stage.model.as_ref().unwrap().was_asked("1.1").await;
    service.start_order("order-2", "document-2", 6).await.unwrap();
    let page = shows(
        &url,
        &[
            ("jobs{status=\"running\"}", 1),
            ("jobs{status=\"queued\"}", 1),
            ("reserved_micro", BOUND),
            ("spend_micro_total{model=\"test-model\"}", COST),
            ("claims_total{kind=\"queued\"}", 1),
            ("claims_total{kind=\"taken_over\"}", 0),
            ("model_breaker{model=\"test-model\",state=\"closed\"}", 1),
            ("limiter_degraded", 0),
        ],
    )
    .await;
    assert!(value(&page, "oldest_queued_seconds").unwrap() > 0.0, "{page}");
    let mut names: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let shown = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), shown, "a metric is shown twice\n{page}");
}

async fn a_busy_model_and_a_redis_out_of_reach_are_shown(backend: Backend) {
    let model = FakeModel::start(|_, _| Reply::Refuses(429, Some("3600")));
    let stage = Stage::openai(backend, model.await).await.in_order();
    // Nobody listens on the first port.
    let nowhere = "redis://127.0.0.1:1".to_owned();
    let (mut service, url) = start(&stage, |config| config.redis_url = Some(nowhere.into())).await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "retrying", 1).await;
    shows(
        &url,
        &[
            ("model_breaker{model=\"test-model\",state=\"open\"}", 1),
            ("model_breaker{model=\"test-model\",state=\"trying\"}", 0),
            ("limiter_degraded", 1),
        ],
    )
    .await;
}
