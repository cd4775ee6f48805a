//! Two job services that share a model's limits over Redis: one of all tries, and Redis may be emptied or go away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_testkit::{Backend, PrivateRedis};

use crate::model::{FakeModel, KEYS, Reply, willing};
use crate::stage::{Service, Stage, assert_whole, of_kind, setting};

quire_testkit::on_both_databases!(
    one_call_of_all_replicas_tries_whether_a_storm_is_over,
    a_redis_that_is_emptied_in_a_storm_costs_no_job_a_try,
    a_redis_that_goes_away_in_a_storm_costs_no_job_a_try,
    replicas_share_the_rate_of_a_model,
);

const WORKERS: usize = 3;
/// How long the provider wants to be left alone unless `QUIRE_TEST_RETRY_AFTER_MS` says otherwise; scenario 15 says 30 s.
const RETRY_AFTER_MS: u64 = 300;

fn retry_after() -> Duration {
    Duration::from_millis(setting("QUIRE_TEST_RETRY_AFTER_MS", RETRY_AFTER_MS))
}

/// Two replicas over one database and one Redis.
async fn replicas(stage: &Stage, redis: &str) -> [Service; 2] {
    let mut one = replica(stage, redis, 0).await;
    // Once it answers, its tables are there.
    one.client.list_models(one.as_admin(pb::ListModelsRequest {})).await.unwrap();
    [one, replica(stage, redis, 0).await]
}

async fn replica(stage: &Stage, redis: &str, requests_per_minute: u32) -> Service {
    let start = stage.start_with(World::system(), |config| {
        config.exclusive_data_dir = false;
        config.redis_url = Some(redis.to_owned().into());
        config.concurrency = WORKERS;
        config.jobs_per_user = 100;
        // A job looks again when it was told to, and not some time after.
        config.retry_base = Duration::ZERO;
        config.models.requests_per_minute = requests_per_minute;
    });
    start.await
}

/// A model that refuses so many calls, one storm after the other, with when each of them came.
#[derive(Clone, Default)]
struct Storm {
    seen: Arc<AtomicUsize>,
    refused: Arc<Mutex<Vec<Instant>>>,
}

impl Storm {
    async fn model(&self, refuses: fn(usize) -> bool) -> FakeModel {
        let storm = self.clone();
        let after: &'static str = retry_after().as_secs_f64().to_string().leak();
        let script = move |asked: &str, number: usize| {
            if refuses(storm.seen.fetch_add(1, Ordering::SeqCst)) {
                storm.refused.lock().unwrap().push(Instant::now());
                return Reply::Refuses(429, Some(after));
            }
            willing(asked, number)
        };
        FakeModel::start(script).await
    }
}

async fn order(service: &mut Service, jobs: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..jobs {
        let (order, document) = (format!("order-{number}"), format!("document-{number}"));
        ids.push(service.start_order(&order, &document, 6).await.unwrap().job_id);
    }
    ids
}

/// Every job is delivered, was told why it waited, and lost no try; every call that was answered is paid once.
async fn all_are_delivered(stage: &Stage, service: &mut Service, ids: &[String], refused: usize) {
    for id in ids {
        let events = service.events(id, 0).await;
        assert_whole(&events, 1, "completed");
        for retry in of_kind(&events, "retrying") {
            let reason = retry["reason"].as_str().unwrap();
            assert!(reason.starts_with("waiting for the model"), "{reason}");
        }
    }
    let jobs = stage.rows("jobs", &["step_retries", "crash_count"], "id").await;
    assert!(jobs.iter().all(|job| *job == ["0", "0"]), "{jobs:?}");
    let calls = ids.len() * (1 + KEYS.len());
    assert_eq!(stage.model.as_ref().unwrap().all_calls(), calls + refused);
    assert_eq!(stage.rows("cost_ledger", &["status"], "id").await, vec![["settled"]; calls]);
}

async fn one_call_of_all_replicas_tries_whether_a_storm_is_over(backend: Backend) {
    let Some(redis) = quire_testkit::redis() else { return };
    let storm = Storm::default();
    // At first, as many as there are workers may be under way together.
    let refuses = |seen| seen < 2 * WORKERS + 4;
    let stage = Stage::openai(backend, storm.model(refuses).await).await;
    let [mut one, _two] = replicas(&stage, redis).await;
    let ids = order(&mut one, 50).await;
    all_are_delivered(&stage, &mut one, &ids, 2 * WORKERS + 4).await;
    let refused = storm.refused.lock().unwrap();
    for pair in refused[2 * WORKERS - 1..].windows(2) {
        let pause = pair[1] - pair[0];
        assert!(pause >= retry_after(), "the provider was asked again after {pause:?}");
    }
}

/// A storm at first, and a second one with nothing in Redis.
fn twice(seen: usize) -> bool {
    seen < 8 || (20..28).contains(&seen)
}

async fn a_redis_that_is_emptied_in_a_storm_costs_no_job_a_try(backend: Backend) {
    let Some(redis) = PrivateRedis::start() else { return };
    let storm = Storm::default();
    let stage = Stage::openai(backend, storm.model(twice).await).await;
    let [mut one, _two] = replicas(&stage, redis.url()).await;
    let ids = order(&mut one, 12).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let model = stage.model.clone().unwrap();
    for calls in [3, 7, 15, 22, 26] {
        model.was_asked_in_all(calls).await;
        redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.unwrap();
    }
    all_are_delivered(&stage, &mut one, &ids, 16).await;
}

async fn a_redis_that_goes_away_in_a_storm_costs_no_job_a_try(backend: Backend) {
    let Some(redis) = PrivateRedis::start() else { return };
    let storm = Storm::default();
    let stage = Stage::openai(backend, storm.model(twice).await).await;
    let [mut one, _two] = replicas(&stage, redis.url()).await;
    let ids = order(&mut one, 12).await;
    stage.model.clone().unwrap().was_asked_in_all(7).await;
    drop(redis);
    all_are_delivered(&stage, &mut one, &ids, 16).await;
}

async fn replicas_share_the_rate_of_a_model(backend: Backend) {
    let Some(redis) = quire_testkit::redis() else { return };
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let mut one = replica(&stage, redis, 2).await;
    let first = one.start_paid().await;
    one.wait_for(&first, "retrying", 1).await;
    one.stop().await;
    // Another process, whose own bucket is full.
    let mut two = replica(&stage, redis, 2).await;
    let second = two.start_order("order-2", "document-2", 6).await.unwrap().job_id;
    let events = two.wait_for(&second, "retrying", 1).await;
    let retrying = &of_kind(&events, "retrying")[0];
    assert_eq!((&retrying["reason"], &retrying["step"]), (&"waiting for the model".into(), &"plan".into()));
    assert_eq!(stage.model.as_ref().unwrap().all_calls(), 2);
}
