//! Scenarios 7 and 8: a job that is cancelled while the model speaks, and cancellations that race the completion.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use futures::{StreamExt, stream};
use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::JobStatus;
use quire_proto::payment::v1::JobOutcome;
use quire_testkit::Backend;
use tokio::sync::watch;

use super::ready;
use crate::elsewhere::PATIENCE;
use crate::model::{FakeModel, Reply, willing};
use crate::stage::{OWNER, Stage, as_payment, assert_whole, of_kind, setting};

quire_testkit::on_both_databases!(
    a_cancellation_at_token_500_of_2000_closes_the_stream_and_pays_up_to_there,
    a_cancellation_and_the_completion_never_both_win,
);

/// Four bytes: what counts as one token when nobody counts.
const TOKEN: &str = "word";

async fn a_cancellation_at_token_500_of_2000_closes_the_stream_and_pays_up_to_there(backend: Backend) {
    let streams: Arc<Mutex<Vec<watch::Sender<bool>>>> = Arc::default();
    let script = {
        let streams = streams.clone();
        move |asked: &str, number: usize| match asked {
            "outline" => willing(asked, number),
            _ => {
                let (sign, given) = watch::channel(false);
                streams.lock().unwrap().push(sign);
                Reply::Waits(words(500), given, words(1500))
            }
        }
    };
    let stage = Stage::openai(backend, FakeModel::start(script).await).await;
    let model = stage.model.clone().unwrap();
    let priced = |config: &mut quire_background_job::Config| {
        config.exclusive_data_dir = false;
        config.models.prices = "test-model=0/1".parse().unwrap();
    };
    let mut worker = stage.start_with(World::system(), priced).await;
    let job_id = worker.start_paid().await;
    let said = |events: &[pb::JobEvent]| {
        let texts = of_kind(events, "text");
        let bytes = |text: &serde_json::Value| text["text"].as_str().unwrap().len();
        texts.iter().filter(|text| text["key"] == "1.1").map(bytes).sum::<usize>() == 500 * TOKEN.len()
    };
    worker.wait_until(&job_id, said).await;

    // Through another process, which has no workers.
    let mut other = stage
        .start_with(World::system(), |config| {
            priced(config);
            config.concurrency = 0;
        })
        .await;
    assert_eq!(other.cancel(&job_id).await.status(), JobStatus::Running);
    let open = streams.lock().unwrap().clone();
    for stream in &open {
        tokio::time::timeout(PATIENCE, stream.closed()).await.expect("the stream is closed");
    }
    let events = other.events(&job_id, 0).await;
    assert_whole(&events, 1, "cancelled");
    assert_eq!(model.all_calls(), 1 + open.len(), "nobody is asked any more");
    let calls = stage.rows("cost_ledger", &["step_key", "status", "output_tokens"], "step_key").await;
    assert_eq!(calls[0][..2], ["plan", "settled"]);
    assert_eq!(calls[1], ["section:1.1", "estimated", "500"]);
    assert!(calls[1..].iter().all(|call| call[1] == "estimated"), "{calls:?}");
    let settled = stage.payment.wait_settled(1).await;
    assert_eq!((settled[0].outcome(), settled[0].delivered_pages), (JobOutcome::Cancelled, 0));
    let job = other.job(&job_id).await;
    assert_eq!(job.status(), JobStatus::Cancelled);
    assert_eq!(worker.cancel(&job_id).await, job);
}

fn words(count: usize) -> String {
    // No model's loop: each word is another.
    (0..count).map(|number| format!("{number:03} ")).collect::<String>().chars().take(4 * count).collect()
}

/// Jobs that race unless `QUIRE_TEST_RACES` says otherwise; the scenario says 1,000.
const RACES: u64 = 150;
/// Jobs at work at once.
const AT_ONCE: usize = 8;

async fn a_cancellation_and_the_completion_never_both_win(backend: Backend) {
    let races = usize::try_from(setting("QUIRE_TEST_RACES", RACES)).unwrap();
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let orders: Vec<_> = (0..races).map(|number| (OWNER.to_owned(), number)).collect();
    let ids = ready::jobs(&stage, &orders).await;
    let service = stage.start_with(World::system(), |config| {
        config.concurrency = AT_ONCE;
        config.jobs_per_user = u32::try_from(AT_ONCE).unwrap();
    });
    let service = service.await;
    // Each is cancelled by its owner, or refunded, some time around the moment when it is at work.
    let mut random = fastrand::Rng::with_seed(8);
    let cancels = ids.iter().enumerate().map(|(number, id)| {
        let (payment, mut client) = (&stage.payment, service.client.clone());
        // Jobs end in about this order; some more are at work, or wait to be settled.
        let ended = (number + random.usize(0..6 * AT_ONCE)).saturating_sub(4 * AT_ONCE).min(races);
        let refund = random.bool();
        let message = pb::CancelJobRequest { job_id: id.clone() };
        let request = service.as_user(OWNER, message);
        async move {
            payment.has_settled(ended).await;
            if refund {
                let order_id = ready::order(OWNER, number);
                client.cancel_order_job(as_payment(pb::CancelOrderJobRequest { order_id })).await.unwrap();
            } else {
                client.cancel_job(request).await.unwrap();
            }
        }
    });
    stream::iter(cancels).buffer_unordered(AT_ONCE).collect::<()>().await;
    stage.payment.has_settled_jobs(races + 1).await;
    let settled = stage.payment.settled();

    let settled: HashMap<&str, _> = settled.iter().map(|one| (one.job_id.as_str(), one)).collect();
    assert_eq!(settled.len(), races + 1, "one settlement of each");
    let delivered = stage.document.told.lock().unwrap().delivered.clone();
    let columns = ["id", "status", "part_pages", "refunded"];
    let jobs = "(SELECT id, status, part_pages, CASE WHEN refunded_at IS NULL THEN 0 ELSE 1 END AS refunded FROM jobs)";
    let mut ends: BTreeMap<(String, bool), usize> = BTreeMap::new();
    for row in stage.rows(&format!("{jobs} job"), &columns, "id").await {
        let [id, status, part_pages, refunded] = &row[..] else { unreachable!() };
        let one = settled[id.as_str()];
        let handed_over = delivered.iter().filter(|job| *job == id).count();
        let expected = match (status.as_str(), refunded.as_str()) {
            ("completed", "0") => (JobOutcome::Delivered, 6, 1),
            ("cancelled", "1") => (JobOutcome::Cancelled, 0, 0),
            ("cancelled", "0") if part_pages == "6" => (JobOutcome::Cancelled, 6, 1),
            ("cancelled", "0") => (JobOutcome::Cancelled, 0, 0),
            other => panic!("{other:?}"),
        };
        assert_eq!((one.outcome(), one.delivered_pages, handed_over), expected, "{row:?}");
        *ends.entry((status.clone(), handed_over > 0)).or_default() += 1;
    }
    assert!(ends.len() == 3 && ends.values().all(|count| *count > 0), "no race: {ends:?}");
}
