//! Providers that let nobody in for a while: all jobs wait together, and no try of theirs is spent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quire_clock::World;
use quire_testkit::Backend;

use crate::model::{FakeModel, KEYS, Reply, willing};
use crate::stage::{Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    a_storm_of_refusals_costs_no_job_a_try,
    calls_beyond_the_rate_of_the_provider_are_put_off,
);

const JOBS: usize = 6;

async fn a_storm_of_refusals_costs_no_job_a_try(backend: Backend) {
    let seen = Arc::new(AtomicUsize::new(0));
    let model = FakeModel::start(move |asked, number| {
        // Two storms: one at the start, and one in the middle.
        match seen.fetch_add(1, Ordering::SeqCst) {
            0..5 | 12..15 => Reply::Refuses(429, Some("0.05")),
            _ => willing(asked, number),
        }
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 3).await;
    let mut ids = Vec::new();
    for number in 0..JOBS {
        let (order, document) = (format!("order-{number}"), format!("document-{number}"));
        ids.push(service.start_order(&order, &document, 6).await.unwrap().job_id);
    }
    let mut reasons = Vec::new();
    for id in &ids {
        let events = service.events(id, 0).await;
        assert_whole(&events, 1, "completed");
        reasons.extend(of_kind(&events, "retrying").iter().map(|retry| retry["reason"].clone()));
    }
    let known = ["waiting for the model, which answered 429", "waiting for the model"];
    assert!(reasons.iter().all(|reason| known.iter().any(|known| reason == known)), "{reasons:?}");
    assert_eq!(reasons.iter().filter(|reason| **reason == known[0]).count(), 8);
    let jobs = stage.rows("jobs", &["step_retries", "crash_count"], "id").await;
    assert!(jobs.iter().all(|job| *job == ["0", "0"]), "{jobs:?}");
    let calls = JOBS * (1 + KEYS.len());
    assert_eq!(stage.model.as_ref().unwrap().all_calls(), calls + 8);
    assert_eq!(stage.rows("cost_ledger", &["status"], "id").await, vec![["settled"]; calls]);
}

async fn calls_beyond_the_rate_of_the_provider_are_put_off(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let mut service = stage.start_with(World::system(), |config| config.models.requests_per_minute = 2).await;
    let job_id = service.start_paid().await;
    let events = service.wait_for(&job_id, "retrying", 1).await;
    let retrying = &of_kind(&events, "retrying")[0];
    assert_eq!(
        (&retrying["reason"], &retrying["step"]),
        (&"waiting for the model".into(), &"section".into())
    );
    // Two calls a minute are one each thirty seconds.
    assert!((1..=30_010).contains(&retrying["delay_ms"].as_i64().unwrap()), "{retrying}");
    assert_eq!(stage.model.as_ref().unwrap().all_calls(), 2);
}
