//! Scenario 2: a worker that is frozen until another has done its work, and then wakes.

use std::time::Duration;

use quire_proto::payment::v1::JobOutcome;
use quire_testkit::Backend;
use sea_orm::{ConnectionTrait, DatabaseBackend};
use tokio::sync::watch;

use crate::elsewhere::{Elsewhere, Halt, Setup};
use crate::model::{FakeModel, KEYS, Reply, plain, willing};
use crate::stage::{Stage, assert_whole, followed_text, of_kind};

quire_testkit::on_both_databases!(
    a_worker_that_freezes_in_a_call_of_the_model_wakes_to_nothing,
    a_worker_that_freezes_while_it_typesets_wakes_to_nothing,
);

fn setup() -> Setup {
    Setup { lease: Duration::from_secs(4), alone: false, ..Setup::default() }
}

/// Freezes a process outside any transaction.
async fn freeze(stage: &Stage, zombie: &Elsewhere) {
    loop {
        zombie.process.pause();
        if nobody_writes(stage).await {
            return;
        }
        zombie.process.resume();
    }
}

async fn nobody_writes(stage: &Stage) -> bool {
    let connection = stage.connect().await;
    let sql = match connection.get_database_backend() {
        DatabaseBackend::Postgres => {
            "BEGIN; LOCK TABLE jobs, job_leases, user_slots IN SHARE ROW EXCLUSIVE MODE NOWAIT; ROLLBACK"
        }
        _ => "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK",
    };
    connection.execute_unprepared(sql).await.is_ok()
}

/// The zombie says that it lost its job, has changed nothing, and is good for another one.
async fn wakes_to_nothing(stage: &Stage, zombie: &mut Elsewhere, job_id: &str, exports: usize) {
    let model = stage.model.as_ref().unwrap();
    let tables = async || {
        let jobs = stage.rows("jobs", &["id", "status", "attempt", "last_seq", "percent"], "id").await;
        let steps = stage.rows("job_steps", &["step_key", "status", "epoch", "input_hash"], "step_key").await;
        let ledger = ["id", "status", "cost_micro"];
        (jobs, steps, stage.rows("cost_ledger", &ledger, "id").await)
    };
    let before = (tables().await, model.all_calls(), stage.payment.settled().len());
    zombie.process.resume();
    zombie.says("another attempt has the job").await;
    assert_eq!((tables().await, model.all_calls(), stage.payment.settled().len()), before);

    // Nobody else is there for the next one.
    let next = zombie.service.start_order("order-2", "document-2", 6).await.unwrap().job_id;
    assert_whole(&zombie.service.events(&next, 0).await, 1, "completed");
    assert_eq!(stage.payment.wait_settled(2).await.len(), 2);
    assert_eq!(stage.payment.settled().iter().filter(|settled| settled.job_id == job_id).count(), 1);
    let told = stage.document.told.lock().unwrap();
    assert_eq!(told.exports.len(), exports + 2, "one document of each job: a PDF and its Markdown");
}

async fn a_worker_that_freezes_in_a_call_of_the_model_wakes_to_nothing(backend: Backend) {
    let (release, released) = watch::channel(false);
    let model = FakeModel::start(move |asked, number| match (asked, number) {
        ("2.1", 1) => Reply::Waits("The sleeper's".to_owned(), released.clone(), " own text.".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let model = stage.model.clone().unwrap();
    let mut zombie = Elsewhere::start(&stage, &setup()).await;
    let job_id = zombie.service.start_paid().await;
    zombie.service.wait_for(&job_id, "text", 3).await;
    freeze(&stage, &zombie).await;

    let mut successor = setup().start_here(&stage).await;
    let events = successor.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    for key in KEYS {
        assert_eq!(followed_text(&events, key), plain(key));
    }
    let settled = stage.payment.wait_settled(1).await;
    assert_eq!((settled[0].outcome(), settled[0].delivered_pages), (JobOutcome::Delivered, 6));
    let job = successor.job(&job_id).await;
    assert_eq!(job.attempt, 2);
    assert_eq!(KEYS.map(|key| model.calls(key)), [1, 1, 2, 1]);
    successor.stop().await;

    // The rest of the old answer is there when it wakes.
    release.send(true).unwrap();
    wakes_to_nothing(&stage, &mut zombie, &job_id, 2).await;
    zombie.says("the lease is lost").await;
    assert_eq!(zombie.service.job(&job_id).await, job);
    let calls = stage.rows("cost_ledger", &["job_id", "step_key", "epoch", "status"], "started_at, id").await;
    let of_section = |row: &&Vec<String>| row[0] == job_id && row[1] == "section:2.1";
    let mut booked: Vec<_> = calls.iter().filter(of_section).map(|row| (&*row[2], &*row[3])).collect();
    booked.sort_unstable();
    assert_eq!(booked, [("1", "wasted"), ("2", "settled")]);
    assert_eq!(calls.iter().filter(|row| row[3] == "wasted").count(), 1);
}

async fn a_worker_that_freezes_while_it_typesets_wakes_to_nothing(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let model = stage.model.clone().unwrap();
    let mut zombie = Elsewhere::start(&stage, &Setup { first_print_hangs: true, ..setup() }).await;
    let job_id = zombie.service.start_paid().await;
    zombie.service.wait_for(&job_id, "typesetting", 1).await;
    freeze(&stage, &zombie).await;

    let mut successor = setup().start_here(&stage).await;
    let events = successor.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(of_kind(&events, "typesetting").len(), 2);
    assert_eq!(stage.payment.wait_settled(1).await.len(), 1);
    let job = successor.job(&job_id).await;
    assert_eq!(job.attempt, 2);
    assert_eq!(KEYS.map(|key| model.calls(key)), [1; 4], "nothing is written again");
    successor.stop().await;

    wakes_to_nothing(&stage, &mut zombie, &job_id, 2).await;
    assert_eq!(zombie.service.job(&job_id).await, job);
}

/// Only PostgreSQL's rows can be held by a process that is not the only one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_freezes_inside_a_transaction_holds_nobody_up() {
    if !Backend::postgres_is_there() {
        return;
    }
    let stage = Stage::openai(Backend::Postgres, FakeModel::start(willing).await).await;
    let halt = Some(("job.finish.before_commit".to_owned(), Halt::Freezes));
    let mut zombie = Elsewhere::start(&stage, &Setup { halt, ..setup() }).await;
    let job_id = zombie.service.start_paid().await;
    zombie.service.wait_for(&job_id, "typesetting", 1).await;
    let mut successor = setup().start_here(&stage).await;
    let events = successor.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let job = successor.job(&job_id).await;
    assert_eq!(job.attempt, 2);
    stage.payment.wait_settled(1).await;
    successor.stop().await;

    zombie.process.resume();
    zombie.says("another attempt has the job").await;
    assert_eq!(zombie.service.job(&job_id).await, job);
    assert_eq!(stage.payment.settled().len(), 1);
}
