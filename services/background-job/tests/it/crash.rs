//! Processes that die, freeze and come back: nothing is written twice, and nobody overwrites anybody.

use std::sync::Arc;
use std::time::Duration;

use quire_clock::{Clock, SystemClock, Timestamp, World};
use quire_proto::job::v1::JobStatus;
use quire_proto::payment::v1::JobOutcome;
use quire_testkit::Backend;
use tokio::sync::watch;

use crate::model::{FakeModel, KEYS, Reply, plain, willing};
use crate::stage::{Stage, assert_whole, followed_text, of_kind};

quire_testkit::on_both_databases!(
    a_killed_process_goes_on_where_it_was,
    a_stopped_process_gives_its_job_back_without_spending_an_attempt,
    a_frozen_worker_is_replaced_and_can_write_nothing_when_it_wakes,
    two_processes_share_the_jobs_and_do_each_once,
);

/// Hangs in the middle of section 2.1 when it is asked for the first time.
fn hanging(asked: &str, number: usize) -> Reply {
    match (asked, number) {
        ("2.1", 1) => Reply::Hangs("This half is never".to_owned()),
        _ => willing(asked, number),
    }
}

async fn a_killed_process_goes_on_where_it_was(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(hanging).await).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let before = service.wait_for(&job_id, "text", 3).await;
    service.kill();

    let mut service = stage.start().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(events[..before.len()], before);
    let model = stage.model.as_ref().unwrap();
    assert_eq!(KEYS.map(|key| model.calls(key)), [1, 1, 2, 1]);
    assert_eq!(model.calls("outline"), 1);
    assert_eq!(KEYS.map(|key| stage.document.times_sent(key)), [1; 4]);
    let restarts: Vec<_> = of_kind(&events, "section_started")
        .into_iter()
        .filter(|started| started["restart"] == true)
        .collect();
    assert_eq!(restarts.len(), 1);
    assert_eq!(restarts[0]["key"], "2.1");
    for key in KEYS {
        assert_eq!(followed_text(&events, key), plain(key));
    }
    let job = service.job(&job_id).await;
    assert_eq!((job.attempt, job.sections_done), (2, 4));
    assert_eq!(stage.payment.wait_settled(1).await.len(), 1);
}

async fn a_stopped_process_gives_its_job_back_without_spending_an_attempt(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(hanging).await).await.in_order();
    let world = World::system();
    let drain = Duration::from_millis(10);
    let mut service = stage.start_with(world, |config| config.drain = drain).await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 3).await;
    service.stop().await;

    // Not exclusive: the job is free because it was given back, not because this start says so.
    let mut service = stage.start_with(World::system(), |config| config.exclusive_data_dir = false).await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(of_kind(&events, "retrying").len(), 0);
    assert_eq!(service.job(&job_id).await.attempt, 1);
    assert_eq!(KEYS.map(|key| stage.document.times_sent(key)), [1; 4]);
}

/// A clock that stops whoever asks it, as a stopped process stops.
struct Freezer {
    frozen: watch::Receiver<bool>,
    handle: tokio::runtime::Handle,
    /// How many threads wait.
    waiting: watch::Sender<usize>,
}

impl Clock for Freezer {
    fn now(&self) -> Timestamp {
        if *self.frozen.borrow() {
            self.waiting.send_modify(|waiting| *waiting += 1);
            let mut frozen = self.frozen.clone();
            let handle = self.handle.clone();
            // The waiting is done by the test's runtime: the frozen one makes no progress at all.
            let thawed = std::thread::spawn(move || {
                let _ = handle.block_on(frozen.wait_for(|frozen| !frozen));
            });
            let _ = thawed.join();
        }
        SystemClock.now()
    }
}

async fn a_frozen_worker_is_replaced_and_can_write_nothing_when_it_wakes(backend: Backend) {
    let (release, released) = watch::channel(false);
    let model = FakeModel::start(move |asked, number| match (asked, number) {
        ("2.1", 1) => Reply::Waits("The sleeper's".to_owned(), released.clone(), " own text.".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let model = stage.model.clone().unwrap();
    let (freeze, frozen) = watch::channel(false);
    let (waiting, mut waits) = watch::channel(0);
    let clock = Freezer { frozen, handle: tokio::runtime::Handle::current(), waiting };
    let mut sleeper = stage
        .start_with(World::with_clock(Arc::new(clock)), |config| {
            config.concurrency = 1;
            config.exclusive_data_dir = false;
        })
        .await;
    let job_id = sleeper.start_paid().await;
    sleeper.wait_for(&job_id, "text", 3).await;
    let request = sleeper.as_admin(quire_proto::job::v1::CancelJobRequest { job_id: job_id.clone() });
    freeze.send(true).unwrap();
    // Any call reads the clock on the service's only thread, and stops it there, outside any transaction.
    let mut client = sleeper.client.clone();
    let stuck = tokio::spawn(async move { client.cancel_job(request).await });
    waits.wait_for(|waiting| *waiting > 0).await.unwrap();
    stage.expire_leases().await;

    let mut successor = stage.start_with(World::system(), |config| config.exclusive_data_dir = false).await;
    let events = successor.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let settled = stage.payment.wait_settled(1).await;
    assert_eq!(settled[0].outcome(), JobOutcome::Delivered);
    let calls = KEYS.map(|key| model.calls(key));
    let sent = stage.document.told.lock().unwrap().sections.clone();

    let job = successor.job(&job_id).await;
    freeze.send(false).unwrap();
    release.send(true).unwrap();
    // The sleeper answers again, so it is awake; then it ends in good order, with all that it tried behind it.
    let answer = stuck.await.unwrap().unwrap().into_inner().job.unwrap();
    assert_eq!(answer.status(), JobStatus::Completed);
    sleeper.stop().await;
    // The same to the number of its last event: nothing came after the end.
    assert_eq!(successor.job(&job_id).await, job);
    assert_eq!((job.last_seq, job.attempt), (events.last().unwrap().seq, 2));
    assert_eq!(stage.document.told.lock().unwrap().sections, sent);
    assert_eq!(KEYS.map(|key| model.calls(key)), calls);
    assert_eq!(stage.payment.settled().len(), 1);
}

async fn two_processes_share_the_jobs_and_do_each_once(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let mut first = stage.start_with(World::system(), |config| config.exclusive_data_dir = false).await;
    // The first one has made the tables when it answers.
    let mut ids = vec![first.start_order("order-0", "document-0", 6).await.unwrap().job_id];
    let mut second = stage.start_with(World::system(), |config| config.exclusive_data_dir = false).await;
    for number in 1..6 {
        let (order, document) = (format!("order-{number}"), format!("document-{number}"));
        ids.push(second.start_order(&order, &document, 6).await.unwrap().job_id);
    }
    for id in &ids {
        assert_whole(&first.events(id, 0).await, 1, "completed");
        assert_eq!(second.job(id).await.attempt, 1);
    }
    let model = stage.model.as_ref().unwrap();
    assert_eq!(KEYS.map(|key| model.calls(key)), [6; 4]);
    assert_eq!(stage.payment.wait_settled(6).await.len(), 6);
}
