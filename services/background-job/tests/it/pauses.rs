//! Jobs that rest: they cost nothing meanwhile, and go on exactly where they were.

use quire_clock::World;
use quire_fault::Fault;
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::JobStatus;
use quire_testkit::Backend;
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::model::{FakeModel, KEYS, Reply, plain, willing};
use crate::stage::{OWNER, Service, Stage, assert_whole, followed_text, of_kind};

quire_testkit::on_both_databases!(
    a_job_that_runs_rests_after_its_section_and_goes_on_there,
    a_job_that_waits_rests_at_once_and_holds_nobody_up,
    a_pause_that_is_taken_back_in_time_leaves_no_trace,
    a_paused_job_can_be_cancelled,
    a_pause_outlives_the_worker_it_was_meant_for,
    a_pause_ends_nothing_that_is_over,
    an_operators_pause_is_not_the_owners_to_end,
);

async fn pause(service: &mut Service, job_id: &str) -> pb::Job {
    let request = service.as_user(OWNER, pb::PauseJobRequest { job_id: job_id.to_owned() });
    service.client.pause_job(request).await.unwrap().into_inner().job.unwrap()
}

/// The same for a job that runs, and waits until its worker knows: it renews the lease as soon as it is called.
async fn pause_at_work(stage: &Stage, service: &mut Service, job_id: &str) -> pb::Job {
    let lease = async || stage.rows("job_leases", &["expires_at"], "job_id").await;
    let before = lease().await;
    let job = pause(service, job_id).await;
    while lease().await == before {}
    job
}

async fn resume(service: &mut Service, job_id: &str) -> Result<pb::Job, Status> {
    let request = service.as_user(OWNER, pb::ResumeJobRequest { job_id: job_id.to_owned() });
    Ok(service.client.resume_job(request).await?.into_inner().job.unwrap())
}

/// A model whose section 2.1 waits for the sign when it is asked for it first.
async fn slow() -> (FakeModel, watch::Sender<bool>) {
    let (release, released) = watch::channel(false);
    let model = FakeModel::start(move |asked, number| match (asked, number) {
        ("2.1", 1) => Reply::Waits(
            "The text of ".to_owned(),
            released.clone(),
            "section 2.1. It is *short*.".to_owned(),
        ),
        _ => willing(asked, number),
    });
    (model.await, release)
}

async fn a_job_that_runs_rests_after_its_section_and_goes_on_there(backend: Backend) {
    let (model, release) = slow().await;
    let stage = Stage::openai(backend, model.clone()).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 3).await;
    let asked = pause_at_work(&stage, &mut service, &job_id).await;
    assert_eq!((asked.status(), asked.pause_reason.as_str()), (JobStatus::Running, "owner"));
    assert_eq!(pause(&mut service, &job_id).await, asked);
    release.send(true).unwrap();
    let events = service.wait_for(&job_id, "paused", 1).await;
    assert_eq!(of_kind(&events, "section_done").len(), 3, "the section was finished: {events:#?}");
    assert_eq!(of_kind(&events, "paused")[0]["reason"], "owner");
    let resting = service.job(&job_id).await;
    assert_eq!((resting.status(), resting.attempt, resting.sections_done), (JobStatus::Paused, 0, 3));
    assert!(resting.paused_at.is_some());
    assert_eq!(pause(&mut service, &job_id).await, resting);
    service.stop().await;

    // Also over a restart, and whatever else is done meanwhile.
    let mut service = stage.start().await;
    let other = service.start_order("order-2", "document-2", 6).await.unwrap().job_id;
    service.events(&other, 0).await;
    assert_eq!(service.job(&job_id).await, resting);
    assert_eq!(KEYS.map(|key| model.calls(key)), [2, 2, 2, 1], "only the other job wrote");

    assert_eq!(resume(&mut service, &job_id).await.unwrap().pause_reason, "");
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(of_kind(&events, "resumed").len(), 1);
    assert_eq!(KEYS.map(|key| model.calls(key)), [2; 4]);
    for key in KEYS {
        assert_eq!(followed_text(&events, key), plain(key));
    }
    let job = service.job(&job_id).await;
    assert_eq!((job.attempt, job.paused_at, job.pause_reason.as_str()), (1, None, ""));
    assert_eq!(resume(&mut service, &job_id).await.unwrap(), job);
}

async fn a_job_that_waits_rests_at_once_and_holds_nobody_up(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let first = service.start_paid().await;
    let resting = pause(&mut service, &first).await;
    assert_eq!((resting.status(), resting.attempt), (JobStatus::Paused, 0));
    service.stop().await;
    let one = |config: &mut quire_background_job::Config| config.jobs_per_user = 1;
    let mut service = stage.start_with(World::system(), one).await;
    let second = service.start_order("order-2", "document-2", 6).await.unwrap().job_id;
    assert_whole(&service.events(&second, 0).await, 1, "completed");
    assert_eq!(service.job(&first).await, resting);
    // A worker may have it before we hear of it.
    assert_ne!(resume(&mut service, &first).await.unwrap().status(), JobStatus::Paused);
    let events = service.events(&first, 0).await;
    assert_whole(&events, 1, "completed");
    let kinds: Vec<&str> = events[..4].iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["queued", "paused", "resumed", "started"]);
}

async fn a_pause_that_is_taken_back_in_time_leaves_no_trace(backend: Backend) {
    let (model, release) = slow().await;
    let stage = Stage::openai(backend, model).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 3).await;
    pause_at_work(&stage, &mut service, &job_id).await;
    let back = resume(&mut service, &job_id).await.unwrap();
    assert_eq!((back.status(), back.pause_reason.as_str()), (JobStatus::Running, ""));
    release.send(true).unwrap();
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!((of_kind(&events, "paused").len(), of_kind(&events, "resumed").len()), (0, 0));
    assert_eq!(service.job(&job_id).await.attempt, 1);
}

async fn a_paused_job_can_be_cancelled(backend: Backend) {
    let (model, release) = slow().await;
    let stage = Stage::openai(backend, model.clone()).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 3).await;
    pause_at_work(&stage, &mut service, &job_id).await;
    release.send(true).unwrap();
    service.wait_for(&job_id, "paused", 1).await;
    service.cancel(&job_id).await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "cancelled");
    assert!(of_kind(&events, "cancelled")[0]["pages"].as_i64().unwrap() > 0, "the part is delivered");
    assert_eq!(model.calls("2.2"), 0);
    service.stop().await;

    let mut idle = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let nothing = idle.start_order("order-2", "document-2", 6).await.unwrap().job_id;
    pause(&mut idle, &nothing).await;
    assert_eq!(idle.cancel(&nothing).await.status(), JobStatus::Cancelled);
}

async fn a_pause_outlives_the_worker_it_was_meant_for(backend: Backend) {
    let (model, _release) = slow().await;
    let stage = Stage::openai(backend, model.clone()).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 3).await;
    pause(&mut service, &job_id).await;
    service.kill();
    let mut service = stage.start().await;
    service.wait_for(&job_id, "paused", 1).await;
    assert_eq!(model.calls("2.1"), 1, "whoever takes over does not write first");
    resume(&mut service, &job_id).await.unwrap();
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    assert_eq!(KEYS.map(|key| model.calls(key)), [1, 1, 2, 1]);
}

async fn a_pause_ends_nothing_that_is_over(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.events(&job_id, 0).await;
    let done = service.job(&job_id).await;
    assert_eq!(pause(&mut service, &job_id).await, done);
    assert_eq!(resume(&mut service, &job_id).await.unwrap(), done);
    let request = service.as_user("stranger", pb::PauseJobRequest { job_id: job_id.clone() });
    assert_eq!(service.client.pause_job(request).await.unwrap_err().code(), Code::NotFound);
    let request = service.as_user("stranger", pb::ResumeJobRequest { job_id });
    assert_eq!(service.client.resume_job(request).await.unwrap_err().code(), Code::NotFound);
}

async fn an_operators_pause_is_not_the_owners_to_end(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let job_id = service.start_paid().await;
    let request = service.as_admin(pb::PauseJobRequest { job_id: job_id.clone() });
    let job = service.client.pause_job(request).await.unwrap().into_inner().job.unwrap();
    assert_eq!((job.status(), job.pause_reason.as_str()), (JobStatus::Paused, "operator"));
    let refused = resume(&mut service, &job_id).await.unwrap_err();
    assert_eq!(
        (refused.code(), Fault::from(&refused).reason.as_str()),
        (Code::FailedPrecondition, "PAUSED_BY_OPERATOR")
    );
    let mut request = tonic::Request::new(pb::ResumeJobRequest { job_id: job_id.clone() });
    stage.sign("operator", &mut request);
    let job = service.client.resume_job(request).await.unwrap().into_inner().job.unwrap();
    assert_eq!(job.status(), JobStatus::Queued);
}
