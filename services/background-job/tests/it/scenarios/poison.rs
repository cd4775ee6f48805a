//! Scenarios 5 and 6: a job that takes its process down whenever it is tried, and one that cannot be read.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use quire_clock::World;
use quire_proto::job::v1::JobStatus;
use quire_proto::payment::v1::JobOutcome;
use quire_testkit::Backend;
use tokio::sync::watch;

use crate::elsewhere::{Elsewhere, PATIENCE, Setup};
use crate::model::{FakeModel, KEYS, Reply, willing};
use crate::stage::{ORDER, Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    a_job_that_breaks_its_process_fails_alone,
    a_job_that_cannot_be_read_fails_at_once,
);

const INNOCENT: [&str; 2] = ["innocent-1", "innocent-2"];
const POISON: &str = "poison";

/// How often the model was asked for what of which document.
type Calls = BTreeMap<(String, String), usize>;

fn of(calls: &Calls, document: &str, asked: &str) -> usize {
    calls.get(&(document.to_owned(), asked.to_owned())).copied().unwrap_or_default()
}

/// Waits until the model was asked often enough.
async fn asked(calls: &watch::Sender<Calls>, enough: impl Fn(&Calls) -> bool) {
    let mut calls = calls.subscribe();
    tokio::time::timeout(PATIENCE, calls.wait_for(enough)).await.unwrap().unwrap();
}

async fn a_job_that_breaks_its_process_fails_alone(backend: Backend) {
    let calls = watch::Sender::new(Calls::new());
    let (release, released) = watch::channel(false);
    let script = {
        let calls = calls.clone();
        move |body: &serde_json::Value, asked: &str, number: usize| {
            let body = body.to_string();
            let document = INNOCENT.iter().chain(&[POISON]).find(|id| body.contains(**id)).unwrap();
            let reply = match (*document, asked) {
                (POISON, "1.1") => Reply::Hangs("Half".to_owned()),
                // The innocent are in the middle of these whenever the process dies.
                (_, "2.1" | "2.2") => {
                    Reply::Waits(String::new(), released.clone(), format!("The text of section {asked}."))
                }
                _ => willing(asked, number),
            };
            calls.send_modify(|calls| {
                *calls.entry(((*document).to_owned(), asked.to_owned())).or_default() += 1;
            });
            reply
        }
    };
    let stage = Stage::openai(backend, FakeModel::start_reading(script).await).await;
    stage.document.titled_by_id.store(true, Ordering::SeqCst);
    let setup = Setup { workers: 3, jobs_per_user: 3, ..Setup::default() };
    let mut process = Elsewhere::start(&stage, &setup).await;
    let mut innocent = Vec::new();
    for id in INNOCENT {
        innocent.push(process.service.start_order(&format!("order-{id}"), id, 6).await.unwrap().job_id);
    }
    for id in &innocent {
        process.service.wait_for(id, "section_done", 2).await;
    }
    let poison = process.service.start_order("order-poison", POISON, 6).await.unwrap().job_id;
    for death in 1..=2 {
        // Everybody is at work, and nobody can tell who it was.
        asked(&calls, |calls| {
            let innocent = INNOCENT.iter().all(|id| of(calls, id, "2.1") >= death);
            innocent && of(calls, POISON, "1.1") >= death
        })
        .await;
        process.process.kill();
        process = Elsewhere::start(&stage, &setup).await;
    }
    // The last try of each is one by itself.
    asked(&calls, |calls| INNOCENT.iter().any(|id| of(calls, id, "2.1") >= 3)).await;
    let leases = stage.rows("job_leases", &["expires_at"], "job_id").await;
    assert_eq!(leases.iter().filter(|lease| lease[0] != "0").count(), 1);
    release.send(true).unwrap();
    asked(&calls, |calls| of(calls, POISON, "1.1") >= 3).await;
    process.process.kill();
    process = Elsewhere::start(&stage, &setup).await;

    let events = process.service.events(&poison, 0).await;
    assert_whole(&events, 1, "failed");
    assert_eq!(of_kind(&events, "failed")[0]["reason"], "poison");
    for id in &innocent {
        assert_whole(&process.service.events(id, 0).await, 1, "completed");
    }
    let calls = calls.borrow().clone();
    for id in INNOCENT {
        let finished = ["outline", "1.1", "1.2"].map(|asked| of(&calls, id, asked));
        assert_eq!(finished, [1; 3], "what was finished is not written again");
        let lost = ["2.1", "2.2"].map(|asked| of(&calls, id, asked));
        assert!(lost.iter().all(|calls| *calls <= 4), "at most once more for each death: {lost:?}");
    }
    assert_eq!(of(&calls, POISON, "1.1"), 3);
    let settled = stage.payment.wait_settled(3).await;
    let of_poison: Vec<_> =
        settled.iter().filter(|one| one.job_id == poison).map(|one| one.outcome()).collect();
    assert_eq!(of_poison, [JobOutcome::Failed]);
    assert_eq!(process.process.ended(), None, "it is stable now");
}

async fn a_job_that_cannot_be_read_fails_at_once(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await.in_order();
    stage.document.refuse_sections.lock().unwrap().push_back(tonic::Status::unavailable("down"));
    let long = std::time::Duration::MAX;
    let mut service = stage.start_with(World::system(), |config| config.retry_base = long).await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "retrying", 1).await;
    service.kill();
    let model = stage.model.clone().unwrap();
    let asked = model.all_calls();
    stage.change_steps("content = '{' WHERE step_key = 'plan'").await;
    stage.change_jobs("run_at = 0").await;

    let mut service = stage.start().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "failed");
    assert_eq!(of_kind(&events, "failed")[0]["reason"], "poison");
    assert_eq!(of_kind(&events, "started").len(), 2, "one look is enough");
    assert_eq!(model.all_calls(), asked);
    assert_eq!(KEYS.map(|key| stage.document.times_sent(key)), [0; 4]);
    let settled = stage.payment.wait_settled(1).await;
    assert_eq!((settled[0].order_id.as_str(), settled[0].outcome()), (ORDER, JobOutcome::Failed));
    // The row stays, with the reason, for the operator.
    let job = service.job(&job_id).await;
    assert_eq!((job.status(), job.failure.as_str()), (JobStatus::Failed, "the stored plan cannot be read"));
}
