//! Scenario 4: PostgreSQL is restarted under twenty running jobs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quire_clock::World;
use quire_testkit::{Backend, OwnPostgres};
use tokio::sync::watch;

use crate::elsewhere::PATIENCE;
use crate::model::{FakeModel, KEYS, Reply, willing};
use crate::stage::{Service, Stage, assert_whole, of_kind};

const JOBS: usize = 20;

/// Twenty jobs whose model has begun to speak.
struct Running {
    stage: Stage,
    service: Service,
    ids: Vec<String>,
    /// The calls that are being answered.
    streams: Arc<Mutex<Vec<watch::Sender<bool>>>>,
}

impl Running {
    async fn start(postgres: &OwnPostgres, lease: Duration) -> Self {
        let streams: Arc<Mutex<Vec<watch::Sender<bool>>>> = Arc::default();
        let script = {
            let streams = streams.clone();
            move |asked: &str, number: usize| match asked {
                "1.1" if number <= JOBS => {
                    let (sign, given) = watch::channel(false);
                    streams.lock().unwrap().push(sign);
                    Reply::Waits("The text of".to_owned(), given, " section 1.1.".to_owned())
                }
                _ => willing(asked, number),
            }
        };
        // What the stage has of its own is not used.
        let stage = Stage::openai(Backend::Sqlite, FakeModel::start(script).await).await.in_order();
        let mut service = stage
            .start_with(World::system(), |config| {
                config.database.url = postgres.url();
                config.database.max_connections = 8;
                config.exclusive_data_dir = false;
                config.concurrency = JOBS;
                config.jobs_per_user = u32::try_from(JOBS).unwrap();
                config.lease = lease;
            })
            .await;
        let mut ids = Vec::new();
        for number in 0..JOBS {
            let (order, document) = (format!("order-{number}"), format!("document-{number}"));
            ids.push(service.start_order(&order, &document, 6).await.unwrap().job_id);
        }
        for id in &ids {
            service.wait_for(id, "text", 1).await;
        }
        Self { stage, service, ids, streams }
    }

    /// All jobs are delivered, with so many calls for the section that was being written.
    async fn deliver(&mut self) -> Vec<usize> {
        for id in &self.ids {
            let events = self.service.events(id, 0).await;
            assert_whole(&events, 1, "completed");
            assert_eq!(of_kind(&events, "section_done").len(), KEYS.len());
        }
        let settled = self.stage.payment.wait_settled(JOBS).await;
        assert_eq!(settled.len(), JOBS);
        let model = self.stage.model.as_ref().unwrap();
        KEYS.iter().map(|key| model.calls(key)).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_outage_of_the_database_drops_no_stream() {
    let Some(mut postgres) = OwnPostgres::start() else { return };
    let mut running = Running::start(&postgres, Duration::from_secs(30)).await;
    postgres.stop();
    // The models go on: what they say waits for the database.
    let streams = running.streams.lock().unwrap().clone();
    for stream in &streams {
        assert_eq!(stream.receiver_count(), 1, "the stream was dropped");
        stream.send_replace(true);
    }
    for stream in &streams {
        tokio::time::timeout(PATIENCE, stream.closed()).await.expect("the answer was given");
    }
    postgres.start_again();
    assert_eq!(running.deliver().await, [JOBS; 4], "nothing is written again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_long_outage_of_the_database_workers_stop_by_themselves() {
    let Some(mut postgres) = OwnPostgres::start() else { return };
    let mut running = Running::start(&postgres, Duration::from_secs(8)).await;
    postgres.stop();
    let streams = running.streams.lock().unwrap().clone();
    for stream in &streams {
        // Before their leases can run out; nobody else could take the jobs now.
        tokio::time::timeout(PATIENCE, stream.closed()).await.expect("the stream is closed");
    }
    postgres.start_again();
    let calls = running.deliver().await;
    assert!(calls[0] <= 2 * JOBS, "at most once more of each: {calls:?}");
    assert_eq!(calls[1..], [JOBS; 3]);
}
