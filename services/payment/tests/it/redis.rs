//! Redis is a shortcut: with it, without it and against it the same things happen.

use std::time::Duration;

use quire_limit::SeenKeys;
use quire_proto::payment::v1 as pb;
use quire_testkit::{Backend, Lie, LyingRedis};
use serde_json::json;

use crate::concurrency::{a_hundred_deliveries, three_events_at_once, three_replicas};
use crate::events::session_event;
use crate::stage::Stage;

/// Nobody listens on the first port.
const NOWHERE: &str = "redis://127.0.0.1:1";
/// Fewer than with no Redis at all: what is tested here is Redis.
const ROUNDS: usize = 15;

quire_testkit::on_both_databases!(
    with_redis_the_same_happens,
    emptied_between_every_two_deliveries_the_same_happens,
    when_redis_is_away_the_same_happens,
    when_redis_lies_the_same_happens,
    what_only_redis_remembers_is_not_lost,
);

/// A numbered database of the shared server: what a test forgets there is its own.
fn own_redis(backend: Backend) -> Option<String> {
    let place = if backend == Backend::Sqlite { 8 } else { 9 };
    let (scheme, address) = quire_testkit::redis()?.split_once("://")?;
    let server = address.split('/').next()?;
    Some(format!("{scheme}://{server}/{place}"))
}

async fn with_redis_the_same_happens(backend: Backend) {
    let Some(redis) = quire_testkit::redis() else { return };
    with(backend, redis, async || {}).await;
}

async fn emptied_between_every_two_deliveries_the_same_happens(backend: Backend) {
    let Some(redis) = own_redis(backend) else { return };
    let client = redis::Client::open(redis.as_str()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let empty = async || {
        redis::cmd("FLUSHDB").query_async::<()>(&mut connection.clone()).await.unwrap();
    };
    with(backend, &redis, empty).await;
}

async fn when_redis_is_away_the_same_happens(backend: Backend) {
    with(backend, NOWHERE, async || {}).await;
}

async fn when_redis_lies_the_same_happens(backend: Backend) {
    let Some(redis) = quire_testkit::redis() else { return };
    let liar = LyingRedis::start(redis, 3).await;
    with(backend, liar.url(), async || {}).await;
    assert!(liar.told(Lie::Invented) > 0, "no event was said to be known");
}

async fn with(backend: Backend, redis: &str, between: impl AsyncFn()) {
    let settings = [("REDIS_URL", redis)];
    {
        let stage = Stage::new(backend).await;
        let servers = three_replicas(&stage, &settings).await;
        a_hundred_deliveries(&stage, &servers, 10, &between).await;
    }
    let stage = Stage::new(backend).await;
    let servers = three_replicas(&stage, &settings).await;
    three_events_at_once(&stage, &servers, ROUNDS, &between).await;
}

async fn what_only_redis_remembers_is_not_lost(backend: Backend) {
    let Some(redis) = quire_testkit::redis() else { return };
    let stage = Stage::new(backend).await;
    let server = stage.start_with(&[("REDIS_URL", redis)]).await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    // Test processes share the server, so the event's name is this test's own.
    let id = format!("evt_{}", stage.world.id());
    let event = session_event(&id, "checkout.session.completed", &order, json!({}));
    // Redis says that it was seen, the database knows nothing.
    let seen = SeenKeys::connect(redis).await.unwrap();
    seen.remember(&format!("webhook:{id}"), Duration::from_secs(600)).await;
    assert!(seen.seen(&format!("webhook:{id}")).await);
    let answer = stage.deliver(&server.client, &event).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Accepted);
    let answer = stage.deliver(&server.client, &event).await.unwrap();
    assert_eq!(answer.verdict(), pb::WebhookVerdict::Duplicate);
    stage.order_is(&server.client, &order.id, |order| !order.job_id.is_empty()).await;
    assert_eq!(stage.book.borrow().started.len(), 1);
}
