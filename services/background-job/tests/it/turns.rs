//! Who is served next: users take turns, nobody has more at work than allowed, and no slot is ever lost.

use std::collections::HashMap;

use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_testkit::Backend;
use tonic::{Code, Request};

use crate::model::{FakeModel, Reply, willing};
use crate::stage::{OWNER, Service, Stage, as_payment, assert_whole};

quire_testkit::on_both_databases!(
    a_user_with_one_job_does_not_wait_behind_those_with_many,
    no_user_and_not_all_together_have_more_at_work_than_allowed,
    a_killed_process_leaves_no_slot_behind,
    a_job_whose_process_died_goes_on_before_new_ones,
    priority_then_size_then_age_order_the_jobs_of_a_user,
    only_operators_set_priorities,
);

async fn start(service: &mut Service, user: &str, number: usize, pages: i32) -> String {
    let request = as_payment(pb::StartJobRequest {
        order_id: format!("order-{user}-{number}"),
        document_id: format!("document-{user}-{number}"),
        user_id: user.to_owned(),
        pages,
    });
    service.client.start_job(request).await.unwrap().into_inner().job_id
}

async fn events(service: &mut Service, job_id: &str) -> Vec<pb::JobEvent> {
    let request = service.as_admin(pb::WatchJobRequest { job_id: job_id.to_owned(), after_seq: 0 });
    let mut stream = service.client.watch_job(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        events.push(answer.event.unwrap());
    }
    events
}

/// Follows jobs to their ends, and gives their users in the order in which they were taken.
async fn order(service: &mut Service, jobs: &[(String, String)]) -> Vec<String> {
    let mut taken = Vec::new();
    for (whose, id) in jobs {
        let events = events(service, id).await;
        assert_whole(&events, 1, "completed");
        let started = events.iter().find(|event| event.kind == "started").unwrap();
        taken.push((quire_proto::from_timestamp(started.at.as_ref().unwrap()), whose.clone()));
    }
    taken.sort();
    taken.into_iter().map(|(_, whose)| whose).collect()
}

/// Looks at the running jobs again and again until `done`, and gives the most of one user and of all at the same time.
async fn most_at_work<T>(stage: &Stage, done: impl Future<Output = T>) -> (T, usize, usize) {
    let (mut of_one, mut of_all) = (0, 0);
    tokio::pin!(done);
    loop {
        let rows = tokio::select! {
            biased;
            outcome = &mut done => return (outcome, of_one, of_all),
            rows = stage.rows("jobs", &["user_id", "status"], "id") => rows,
        };
        let mut users: HashMap<&str, usize> = HashMap::new();
        for row in rows.iter().filter(|row| row[1] == "running") {
            *users.entry(&row[0]).or_default() += 1;
        }
        of_one = of_one.max(users.values().copied().max().unwrap_or_default());
        of_all = of_all.max(users.values().sum());
    }
}

async fn a_user_with_one_job_does_not_wait_behind_those_with_many(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let mut idle = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let mut jobs = Vec::new();
    for user in ["a", "b"] {
        for number in 0..5 {
            jobs.push((user.to_owned(), start(&mut idle, user, number, 6).await));
        }
    }
    jobs.push(("c".to_owned(), start(&mut idle, "c", 0, 6).await));
    idle.stop().await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 1).await;
    let order = order(&mut service, &jobs).await;
    assert_eq!(order, ["a", "b", "c", "a", "b", "a", "b", "a", "b", "a", "b"]);
}

async fn no_user_and_not_all_together_have_more_at_work_than_allowed(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let limits = |config: &mut quire_background_job::Config| {
        config.concurrency = 4;
        config.jobs_per_user = 2;
        config.jobs_global = 3;
        config.exclusive_data_dir = false;
    };
    // Two processes with more workers together than jobs are allowed.
    let mut first = stage.start_with(World::system(), limits).await;
    let mut jobs = vec![("a".to_owned(), start(&mut first, "a", 0, 6).await)];
    let second = stage.start_with(World::system(), limits).await;
    for number in 1..5 {
        for user in ["a", "b", "c"] {
            jobs.push((user.to_owned(), start(&mut first, user, number, 6).await));
        }
    }
    let (order, of_one, of_all) = most_at_work(&stage, order(&mut first, &jobs)).await;
    assert_eq!(order.len(), jobs.len());
    assert!(of_one <= 2 && of_all <= 3, "{of_one} of one user, {of_all} of all");
    second.stop().await;
}

async fn a_killed_process_leaves_no_slot_behind(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("1.1", 1 | 2) => Reply::Hangs("Half a sentence".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut doomed = stage.start_with(World::system(), |config| config.concurrency = 4).await;
    let mut jobs = Vec::new();
    for number in 0..5 {
        jobs.push((OWNER.to_owned(), start(&mut doomed, OWNER, number, 6).await));
    }
    // Both of the user's slots are taken.
    doomed.wait_for(&jobs[0].1, "text", 1).await;
    doomed.wait_for(&jobs[1].1, "text", 1).await;
    doomed.kill();
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 4).await;
    let (order, of_one, _) = most_at_work(&stage, order(&mut service, &jobs)).await;
    assert_eq!((order.len(), of_one), (5, 2), "no more than allowed");
    assert_eq!(service.job(&jobs[0].1).await.attempt, 2);
}

async fn a_job_whose_process_died_goes_on_before_new_ones(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("1.1", 1) => Reply::Hangs("Half a sentence".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut doomed = stage.start_with(World::system(), |config| config.concurrency = 1).await;
    let begun = start(&mut doomed, OWNER, 0, 30).await;
    doomed.wait_for(&begun, "text", 1).await;
    doomed.kill();
    let mut idle = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let small = start(&mut idle, OWNER, 1, 6).await;
    idle.stop().await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 1).await;
    let taken = |events: &[pb::JobEvent], attempt: i64| {
        let started = events.iter().filter(|event| event.kind == "started");
        let of_attempt = |event: &&pb::JobEvent| event.data_json.contains(&format!("\"attempt\":{attempt}"));
        quire_proto::from_timestamp(started.clone().find(of_attempt).unwrap().at.as_ref().unwrap())
    };
    let begun = taken(&events(&mut service, &begun).await, 2);
    assert!(begun < taken(&events(&mut service, &small).await, 1));
}

async fn priority_then_size_then_age_order_the_jobs_of_a_user(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let mut ids = Vec::new();
    for (number, pages) in [9, 6, 6, 30].into_iter().enumerate() {
        ids.push((number.to_string(), start(&mut service, OWNER, number, pages).await));
    }
    let request = service.as_admin(pb::SetJobPriorityRequest { job_id: ids[3].1.clone(), priority: 9 });
    let job = service.client.set_job_priority(request).await.unwrap().into_inner().job.unwrap();
    assert_eq!(job.priority, 9);
    service.stop().await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 1).await;
    assert_eq!(order(&mut service, &ids).await, ["3", "1", "2", "0"]);
}

async fn only_operators_set_priorities(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let job_id = service.start_paid().await;
    let message = |priority| pb::SetJobPriorityRequest { job_id: job_id.clone(), priority };
    let request = service.as_user(OWNER, message(9));
    assert_eq!(service.client.set_job_priority(request).await.unwrap_err().code(), Code::PermissionDenied);
    for wrong in [-1, 10] {
        let request = service.as_admin(message(wrong));
        assert_eq!(service.client.set_job_priority(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let mut request = Request::new(message(0));
    stage.sign("operator", &mut request);
    let job = service.client.set_job_priority(request).await.unwrap().into_inner().job.unwrap();
    assert_eq!((job.priority, service.job(&job_id).await.priority), (0, 0));
}
