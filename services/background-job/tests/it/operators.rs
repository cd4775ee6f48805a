//! What operators do about jobs: go on with one that failed, look at one, send again what was refused, and tell other
//! processes.

use std::time::Duration;

use quire_clock::World;
use quire_fault::Fault;
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::{JobStatus, ReplayVerdict};
use quire_proto::payment::v1::JobOutcome;
use quire_testkit::Backend;
use tokio::sync::watch;
use tonic::{Code, Request, Status};

use crate::model::{FakeModel, KEYS, Reply, willing};
use crate::replay::replay;
use crate::stage::{DOCUMENT, ORDER, OWNER, Service, Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    a_failed_job_is_gone_on_with_where_it_stopped,
    answers_that_a_job_failed_for_are_left_behind_and_asked_for_anew,
    only_what_failed_can_be_retried,
    a_timeline_tells_steps_tokens_and_events,
    a_message_that_payment_refuses_is_given_up_and_sent_again,
    jobs_are_listed_by_where_they_stand,
    old_events_and_contents_go_and_the_job_stays,
    a_stopped_process_finishes_the_section_it_is_writing,
);

/// A call of the operator at a terminal.
fn at_terminal<T>(stage: &Stage, message: T) -> Request<T> {
    let mut request = Request::new(message);
    stage.sign("operator", &mut request);
    request
}

pub async fn retry(stage: &Stage, service: &mut Service, job_id: &str) -> Result<pb::Job, Status> {
    let request = at_terminal(stage, pb::RetryJobRequest { job_id: job_id.to_owned() });
    Ok(service.client.retry_job(request).await?.into_inner().job.unwrap())
}

async fn dead_letters(stage: &Stage, service: &mut Service) -> Vec<pb::DeadLetter> {
    let request = at_terminal(stage, pb::ListDeadLettersRequest {});
    service.client.list_dead_letters(request).await.unwrap().into_inner().dead_letters
}

async fn a_failed_job_is_gone_on_with_where_it_stopped(backend: Backend) {
    // The section is refused for as long as the first job tries, then written.
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("2.1", 1..=8) => Reply::Refuses(500, None),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let mut service = stage.start().await;
    let failed = service.start_paid().await;
    assert_whole(&service.events(&failed, 0).await, 1, "failed");
    assert_eq!(stage.payment.wait_settled(1).await[0].outcome(), JobOutcome::Failed);
    let before = service.job(&failed).await;

    let job = retry(&stage, &mut service, &failed).await.unwrap();
    assert_eq!(
        (job.order_id.as_str(), job.user_id.as_str(), job.document_id.as_str()),
        ("", OWNER, DOCUMENT)
    );
    let events = service.events(&job.id, 0).await;
    assert_whole(&events, 1, "completed");
    let requeued = of_kind(&events, "requeued");
    assert_eq!((requeued[0]["from"].as_str(), requeued[0]["sections"].as_i64()), (Some(&*failed), Some(2)));
    let model = stage.model.as_ref().unwrap();
    assert_eq!((model.calls("outline"), KEYS.map(|key| model.calls(key))), (1, [1, 1, 9, 1]));
    assert_eq!(service.job(&failed).await, before, "what has ended stays ended");
    assert_eq!(stage.payment.settled().len(), 1, "nobody pays twice, nobody is refunded twice");
    let told = stage.document.told.lock().unwrap();
    assert_eq!(told.attached.last(), Some(&job.id));
    let sent: Vec<&str> = told.sections.iter().map(|sent| sent.key.as_str()).collect();
    assert_eq!(
        sent,
        ["1.1", "1.2", "1.1", "1.2", "2.1", "2.2"],
        "the new job sends what the other one wrote"
    );
}

async fn answers_that_a_job_failed_for_are_left_behind_and_asked_for_anew(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("outline", 1..=2) => Reply::says("I would rather not."),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let failed = service.start_paid().await;
    assert_whole(&service.events(&failed, 0).await, 1, "failed");
    let job = retry(&stage, &mut service, &failed).await.unwrap();
    assert_whole(&service.events(&job.id, 0).await, 1, "completed");
    let model = stage.model.as_ref().unwrap();
    assert_eq!((model.calls("outline"), KEYS.map(|key| model.calls(key))), (3, [1; 4]));
    let report = replay(&stage, &mut service, &job.id).await.unwrap();
    let verdicts: Vec<_> = report.steps.iter().map(|step| (step.calls, step.verdict())).collect();
    assert_eq!(verdicts[0], (3, ReplayVerdict::Same), "the calls of both jobs");
    assert!(verdicts.iter().all(|(_, verdict)| *verdict == ReplayVerdict::Same), "{verdicts:?}");
}

async fn only_what_failed_can_be_retried(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let job_id = service.start_paid().await;
    let refused = retry(&stage, &mut service, &job_id).await.unwrap_err();
    assert_eq!(
        (refused.code(), Fault::from(&refused).reason.as_str()),
        (Code::FailedPrecondition, "JOB_NOT_FAILED")
    );
    assert_eq!(retry(&stage, &mut service, "nothing").await.unwrap_err().code(), Code::NotFound);
    let request = service.as_user(OWNER, pb::RetryJobRequest { job_id: job_id.clone() });
    assert_eq!(service.client.retry_job(request).await.unwrap_err().code(), Code::PermissionDenied);
    // Asked twice, the same job goes on.
    stage.change_jobs("status = 'failed', finished_at = 1").await;
    let first = retry(&stage, &mut service, &job_id).await.unwrap();
    assert_eq!(retry(&stage, &mut service, &job_id).await.unwrap(), first);
}

async fn a_timeline_tells_steps_tokens_and_events(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    let message = pb::GetJobTimelineRequest { job_id: job_id.clone() };
    let request = service.as_user(OWNER, message.clone());
    assert_eq!(service.client.get_job_timeline(request).await.unwrap_err().code(), Code::PermissionDenied);
    let request = at_terminal(&stage, message);
    let timeline = service.client.get_job_timeline(request).await.unwrap().into_inner();
    assert_eq!(timeline.job.unwrap(), service.job(&job_id).await);
    let told: Vec<_> = events.into_iter().filter(|event| event.kind != "text").collect();
    assert_eq!(timeline.events, told);
    let steps: Vec<&str> = timeline.steps.iter().map(|step| step.key.as_str()).collect();
    let expected = ["attach", "plan", "section:1.1", "section:1.2", "section:2.1", "section:2.2", "typeset"];
    assert_eq!(steps, expected);
    assert!(
        timeline.steps.iter().all(|step| step.status == "done" && step.epoch == 1),
        "{:?}",
        timeline.steps
    );
    let tokens: i64 = timeline.steps.iter().map(|step| step.input_tokens).sum();
    assert_eq!(tokens, 500, "a hundred for each call of the model");
}

async fn a_message_that_payment_refuses_is_given_up_and_sent_again(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let refusal = || Status::not_found("there is no such order");
    stage.payment.refuse.lock().unwrap().extend((0..2).map(|_| refusal()));
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.events(&job_id, 0).await;
    // As after many tries: the next one is the last.
    let letter = loop {
        stage.change_outbox("attempts = 11, next_at = 0").await;
        match dead_letters(&stage, &mut service).await.pop() {
            Some(letter) => break letter,
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!((letter.job_id.as_str(), letter.kind.as_str()), (job_id.as_str(), "settle"));
    assert!(!letter.last_error.is_empty() && letter.dead_at.is_some());
    let dead = stage.payment.refuse.lock().unwrap().len();
    stage.payment.refuse.lock().unwrap().clear();
    assert!(dead < 2);

    let request = |kind: &str| pb::RedriveDeadLetterRequest { job_id: job_id.clone(), kind: kind.to_owned() };
    let strange = at_terminal(&stage, request("report"));
    assert!(!service.client.redrive_dead_letter(strange).await.unwrap().into_inner().redriven);
    let redrive = at_terminal(&stage, request("settle"));
    assert!(service.client.redrive_dead_letter(redrive).await.unwrap().into_inner().redriven);
    assert_eq!(stage.payment.wait_settled(1).await[0].order_id, ORDER);
    assert_eq!(dead_letters(&stage, &mut service).await, []);
    let user = service.as_user(OWNER, request("settle"));
    assert_eq!(service.client.redrive_dead_letter(user).await.unwrap_err().code(), Code::PermissionDenied);
}

async fn jobs_are_listed_by_where_they_stand(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let waits = service.start_paid().await;
    let over = service.start_order("order-2", "document-2", 6).await.unwrap().job_id;
    service.cancel(&over).await;
    for (status, expected) in [(JobStatus::Queued, &waits), (JobStatus::Cancelled, &over)] {
        let message = pb::ListJobsRequest { status: status.into(), ..Default::default() };
        let listed =
            service.client.list_jobs(at_terminal(&stage, message.clone())).await.unwrap().into_inner();
        assert_eq!(listed.jobs.iter().map(|job| &job.id).collect::<Vec<_>>(), [expected]);
        let request = service.as_user("stranger", message);
        assert_eq!(service.client.list_jobs(request).await.unwrap().into_inner().jobs, []);
    }
}

async fn old_events_and_contents_go_and_the_job_stays(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.events(&job_id, 0).await;
    while !stage.rows("job_outbox WHERE done_at IS NULL", &["job_id"], "job_id").await.is_empty() {}
    let job = service.job(&job_id).await;
    service.stop().await;

    let tables = ["job_events", "job_outbox"];
    let mut service =
        stage.start_with(World::system(), |config| config.events_retention = Duration::ZERO).await;
    for table in tables {
        while !stage.rows(table, &["job_id"], "job_id").await.is_empty() {}
    }
    let kept = stage.rows("job_steps WHERE content IS NOT NULL", &["step_key"], "step_key").await;
    assert_eq!(kept, Vec::<Vec<String>>::new());
    let request = at_terminal(&stage, pb::GetJobTimelineRequest { job_id: job_id.clone() });
    let timeline = service.client.get_job_timeline(request).await.unwrap().into_inner();
    assert_eq!((timeline.events.len(), timeline.steps.len()), (0, 7));
    assert_eq!(service.job(&job_id).await, job);
    assert_eq!(service.events(&job_id, 0).await, [], "a follower who comes too late is let go");
}

async fn a_stopped_process_finishes_the_section_it_is_writing(backend: Backend) {
    let (release, released) = watch::channel(false);
    let model = FakeModel::start(move |asked, number| match (asked, number) {
        ("2.1", 1) => Reply::Waits("The text of ".to_owned(), released.clone(), "it.".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service =
        stage.start_with(World::system(), |config| config.drain = Duration::from_secs(60)).await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 3).await;
    let waiting = service.start_order("order-2", "document-2", 6);
    waiting.await.unwrap();
    let stopping = service.stop();
    tokio::pin!(stopping);
    assert!(futures::poll!(&mut stopping).is_pending());
    release.send(true).unwrap();
    stopping.await;

    let mut service = stage.start_with(World::system(), |config| config.exclusive_data_dir = false).await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(service.job(&job_id).await.attempt, 1);
    let started = of_kind(&events, "section_started");
    assert!(
        started.iter().all(|started| started["restart"] != true),
        "no section was written twice: {started:?}"
    );
}

/// A lease that is renewed after a quarter of an hour: only a message between the processes is faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_elsewhere_hears_of_pause_and_cancellation() {
    if !Backend::postgres_is_there() {
        return;
    }
    let (release, released) = watch::channel(false);
    let model = FakeModel::start(move |asked, number| match (asked, number) {
        ("1.2", 1) => Reply::Waits("Half of ".to_owned(), released.clone(), "it.".to_owned()),
        ("2.1", 1) => Reply::Hangs("Half".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(Backend::Postgres, model.await).await.in_order();
    let apart = |config: &mut quire_background_job::Config| {
        config.lease = Duration::from_secs(3600);
        config.exclusive_data_dir = false;
    };
    let mut worker = stage.start_with(World::system(), apart).await;
    let job_id = worker.start_paid().await;
    worker.wait_for(&job_id, "text", 2).await;
    let mut other = stage
        .start_with(World::system(), |config| {
            apart(config);
            config.concurrency = 0;
        })
        .await;
    let lease = async || stage.rows("job_leases", &["expires_at"], "job_id").await;
    let before = lease().await;
    let request = other.as_user(OWNER, pb::PauseJobRequest { job_id: job_id.clone() });
    other.client.pause_job(request).await.unwrap();
    let asked = std::time::Instant::now();
    while lease().await == before {}
    println!("a pause was heard elsewhere after {:?}", asked.elapsed());
    release.send(true).unwrap();
    other.wait_for(&job_id, "paused", 1).await;
    let request = other.as_user(OWNER, pb::ResumeJobRequest { job_id: job_id.clone() });
    other.client.resume_job(request).await.unwrap();
    let asked = std::time::Instant::now();
    other.wait_for(&job_id, "text", 3).await;
    println!("a resumed job went on elsewhere after {:?}", asked.elapsed());
    other.cancel(&job_id).await;
    let asked = std::time::Instant::now();
    assert_whole(&other.events(&job_id, 0).await, 1, "cancelled");
    println!("a cancelled job ended elsewhere after {:?}", asked.elapsed());
}
