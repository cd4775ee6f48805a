//! Scenarios 11 and 13: one order that is started through several processes at once, and a process that is asked to end.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use quire_proto::job::v1 as pb;
use quire_testkit::Backend;
use tokio::sync::watch;

use crate::elsewhere::{Elsewhere, Halt, Setup};
use crate::model::{FakeModel, KEYS, Reply, willing};
use crate::stage::{DOCUMENT, ORDER, OWNER, Stage, as_payment, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    fifty_starts_over_three_processes_of_which_one_dies_give_one_job,
    a_process_that_is_asked_to_end_gives_its_eight_jobs_away_as_they_are,
);

async fn fifty_starts_over_three_processes_of_which_one_dies_give_one_job(backend: Backend) {
    const STARTS: usize = 50;
    for place in ["job.start.inserted", "job.start.committed"] {
        let stage = Stage::digest(backend).await;
        let idle = Setup { workers: 0, alone: false, ..Setup::default() };
        let dies = Setup { halt: Some((place.to_owned(), Halt::Dies)), ..idle.clone() };
        let mut first = idle.start_here(&stage).await;
        // It has made the tables when it answers.
        let request = first.as_admin(pb::ListJobsRequest::default());
        first.client.list_jobs(request).await.unwrap();
        let replicas = [first, idle.start_here(&stage).await];
        let mut doomed = Elsewhere::start(&stage, &dies).await;
        let clients = [&doomed.service, &replicas[0], &replicas[1]].map(|service| service.client.clone());
        let starts = (0..STARTS).map(|number| {
            let clients = clients.clone();
            async move {
                // As payment's relay: until somebody answers.
                for client in clients.iter().cycle().skip(number) {
                    let request = as_payment(pb::StartJobRequest {
                        order_id: ORDER.to_owned(),
                        document_id: DOCUMENT.to_owned(),
                        user_id: OWNER.to_owned(),
                        pages: 6,
                    });
                    if let Ok(answer) = client.clone().start_job(request).await {
                        return answer.into_inner();
                    }
                }
                unreachable!("it goes on for ever")
            }
        });
        let answers = tokio::time::timeout(crate::elsewhere::PATIENCE, join_all(starts)).await.unwrap();
        let ids: HashSet<&str> = answers.iter().map(|answer| answer.job_id.as_str()).collect();
        assert_eq!((answers.len(), ids.len()), (STARTS, 1), "{place}");
        assert!(answers.iter().filter(|answer| answer.created).count() <= 1, "{place}");
        let jobs = stage.rows("jobs", &["order_id", "status", "last_seq"], "id").await;
        assert_eq!(jobs, [[ORDER, "queued", "1"]], "{place}");
        // It was the first to start a job, or had none to start.
        if place == "job.start.committed" && answers.iter().all(|answer| !answer.created) {
            assert!(!doomed.ended().await.success());
        }
    }
}

async fn a_process_that_is_asked_to_end_gives_its_eight_jobs_away_as_they_are(backend: Backend) {
    const JOBS: usize = 8;
    let (release, released) = watch::channel(false);
    let model = FakeModel::start(move |asked, _| match asked {
        "1.2" => Reply::Waits("The text of".to_owned(), released.clone(), " section 1.2.".to_owned()),
        _ => willing(asked, 1),
    });
    let stage = Stage::openai(backend, model.await).await;
    let model = stage.model.clone().unwrap();
    let setup = Setup {
        workers: JOBS,
        jobs_per_user: 20,
        drain: Duration::from_secs(20),
        alone: false,
        ..Setup::default()
    };
    let mut process = Elsewhere::start(&stage, &setup).await;
    let mut ids = Vec::new();
    for number in 0..JOBS + 1 {
        let (order, document) = (format!("order-{number}"), format!("document-{number}"));
        ids.push(process.service.start_order(&order, &document, 6).await.unwrap().job_id);
    }
    model.was_asked_times("1.2", JOBS).await;
    process.process.terminate();
    process.says("asked to end").await;
    // They are in the middle of a section, which they finish.
    release.send(true).unwrap();
    assert!(process.ended().await.success(), "{}", process.log());
    let rows = stage.rows("jobs", &["status", "attempt", "crash_count"], "created_at").await;
    assert_eq!(rows, vec![["queued", "0", "0"]; JOBS + 1], "no new claim, none spent");
    let calls = KEYS.map(|key| model.calls(key));

    let mut successor = setup.start_here(&stage).await;
    for id in &ids {
        let events = successor.events(id, 0).await;
        assert_whole(&events, 1, "completed");
        assert_eq!(of_kind(&events, "retrying").len(), 0);
        assert_eq!(successor.job(id).await.attempt, 1);
    }
    assert_eq!((calls[1], model.calls("1.2")), (JOBS, JOBS + 1), "what was being written was finished");
    assert_eq!(KEYS.map(|key| model.calls(key)), [JOBS + 1; 4]);
}
