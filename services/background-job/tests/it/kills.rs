//! A process that is killed at each named place, and another one that takes over: nothing is lost, done twice or
//! settled differently.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

use quire_clock::{FailPoints, World};
use quire_fault::Fault;
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::JobStatus;
use quire_proto::payment::v1::JobOutcome;
use quire_testkit::Backend;
use tokio::sync::watch;

use crate::elsewhere::{Elsewhere, Halt, PATIENCE, Setup};
use crate::model::{FakeModel, KEYS, Reply, plain, willing};
use crate::operators::retry;
use crate::outlines::outline;
use crate::press::FixedPress;
use crate::reviews::approve;
use crate::stage::{DOCUMENT, ORDER, OWNER, Service, Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    a_paid_job_survives_a_kill_at_every_place,
    a_part_survives_a_kill_at_every_place,
    a_cancellation_before_the_start_survives_a_kill_at_every_place,
    a_review_survives_a_kill_at_every_place,
    an_outline_before_the_order_survives_a_kill_at_every_place,
    a_rest_survives_a_kill_at_every_place,
    a_retry_survives_a_kill_at_every_place,
);

const SIGABRT: i32 = 6;

/// What happens to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Journey {
    /// It is delivered.
    Paid,
    /// It is cancelled after two of four sections.
    Part,
    /// It is cancelled before anything is written.
    Nothing,
    /// It is delivered with an outline that its customer has approved.
    Reviewed,
    /// It is delivered with an outline that was planned before the order.
    Outlined,
    /// It is delivered after it was paused in the middle, and resumed.
    Rested,
    /// It fails, and an operator goes on with it.
    Retried,
}

impl Journey {
    /// And what lets the model go on once the job is paused.
    async fn stage(self, backend: Backend) -> (Stage, watch::Sender<bool>) {
        let (paused, has_paused) = watch::channel(false);
        let model = FakeModel::start(move |asked, number| match (self, asked, number) {
            (Self::Part, "2.1", _) => Reply::Hangs("Half a sentence that".to_owned()),
            (Self::Rested, "2.1", 1) => Reply::Waits(String::new(), has_paused.clone(), plain("2.1")),
            (Self::Retried, "2.1", 1) => Reply::Refuses(400, None),
            _ => willing(asked, number),
        });
        let stage = Stage::openai(backend, model.await).await;
        // The part that is cancelled is the first half.
        let in_order = matches!(self, Self::Part | Self::Rested | Self::Retried);
        let mut stage = if in_order { stage.in_order() } else { stage };
        stage.press = Arc::new(FixedPress::pages(self.pages()));
        let review = self == Self::Reviewed;
        stage.document.brief.lock().unwrap().document.as_mut().unwrap().review_outline = review;
        (stage, paused)
    }

    fn pages(self) -> u32 {
        if self == Self::Part { 2 } else { 6 }
    }

    /// A process that dies at the place.
    fn doom(self, place: &str) -> Setup {
        let halt = Some((place.to_owned(), Halt::Dies));
        Setup { workers: self.workers(), pages: self.pages(), halt, ..Setup::default() }
    }

    fn workers(self) -> usize {
        if self == Self::Nothing { 0 } else { 1 }
    }

    fn outcome(self) -> (JobOutcome, i32) {
        match self {
            Self::Paid | Self::Reviewed | Self::Outlined | Self::Rested => (JobOutcome::Delivered, 6),
            Self::Retried => (JobOutcome::Failed, 0),
            Self::Part => (JobOutcome::Cancelled, 2),
            Self::Nothing => (JobOutcome::Cancelled, 0),
        }
    }

    /// The places that tell about this journey: the others lie on the way of a paid job too.
    fn own(self, points: BTreeSet<&'static str>) -> BTreeSet<&'static str> {
        let shared = [
            "job.start.",
            "job.queue.",
            "job.step.attach.",
            "job.step.model.",
            "job.step.plan.",
            "job.step.section.",
        ];
        let own = |point: &&str| match self {
            Self::Paid => true,
            Self::Reviewed => point.contains(".review."),
            // The job that only plans is the first to come by.
            Self::Outlined => {
                let planning = ["job.start.", "job.queue.", "job.step.model.", "job.step.plan.", "commit"];
                planning.iter().any(|part| point.contains(part))
            }
            Self::Rested => [".pause.", ".resume.", "give"].iter().any(|part| point.contains(part)),
            Self::Retried => point.starts_with("job.retry."),
            Self::Part | Self::Nothing => !shared.iter().any(|prefix| point.starts_with(prefix)),
        };
        points.into_iter().filter(own).collect()
    }

    /// Asks for what happens, as often as need be: a process that dies does not answer.
    async fn drive(self, stage: &Stage, service: &mut Service, paused: &watch::Sender<bool>) {
        if self == Self::Outlined {
            let Ok(planned) = outline(service, OWNER, DOCUMENT).await else { return };
            if until(service, &planned.id, JobStatus::Completed).await.is_none() {
                return;
            }
        }
        let Ok(job) = service.start_order(ORDER, DOCUMENT, 6).await else { return };
        if self == Self::Rested {
            stage.model.as_ref().unwrap().was_asked("2.1").await;
            rest(stage, service, &job.job_id, paused).await;
        }
        if self == Self::Retried && until(service, &job.job_id, JobStatus::Failed).await.is_some() {
            // It may die of that.
            let _ = retry(stage, service, &job.job_id).await;
        }
        if self == Self::Part {
            stage.model.as_ref().unwrap().was_asked("2.1").await;
        }
        if self == Self::Reviewed {
            while let Err(status) = approve(service, OWNER).await {
                if Fault::from(&status).reason != "OUTLINE_NOT_READY" {
                    return;
                }
            }
        }
        if matches!(self, Self::Part | Self::Nothing) {
            let request = service.as_user(OWNER, pb::CancelJobRequest { job_id: job.job_id });
            let _ = service.client.cancel_job(request).await;
        }
    }
}

/// The job as its owner sees it; `None`: the service is gone.
async fn look(service: &mut Service, job_id: &str) -> Option<pb::Job> {
    let request = service.as_user(OWNER, pb::GetJobRequest { job_id: job_id.to_owned() });
    service.client.get_job(request).await.ok()?.into_inner().job
}

/// Waits until the job stands there, or is over; `None`: the service is gone.
async fn until(service: &mut Service, job_id: &str, wanted: JobStatus) -> Option<pb::Job> {
    use JobStatus::{Cancelled, Completed, Failed};
    loop {
        let job = look(service, job_id).await?;
        if [wanted, Completed, Failed, Cancelled].contains(&job.status()) {
            return Some(job);
        }
    }
}

/// Pauses the job at its work, lets that go on, and resumes the job when it rests; as far as the service gets.
async fn rest(
    stage: &Stage,
    service: &mut Service,
    job_id: &str,
    paused: &watch::Sender<bool>,
) -> Option<()> {
    let lease = async || stage.rows("job_leases", &["expires_at"], "job_id").await;
    let before = lease().await;
    let request = service.as_user(OWNER, pb::PauseJobRequest { job_id: job_id.to_owned() });
    service.client.pause_job(request).await.ok()?;
    // Its worker knows as soon as it has renewed the lease.
    while look(service, job_id).await?.status() == JobStatus::Running && lease().await == before {}
    paused.send_replace(true);
    until(service, job_id, JobStatus::Paused).await?;
    let request = service.as_user(OWNER, pb::ResumeJobRequest { job_id: job_id.to_owned() });
    service.client.resume_job(request).await.ok().map(|_| ())
}

/// Notes where the service comes by.
struct Notes(watch::Sender<BTreeSet<&'static str>>);

impl FailPoints for Notes {
    fn reach(&self, point: &'static str) {
        self.0.send_modify(|points| {
            points.insert(point);
        });
    }
}

/// The places that a journey comes by when nothing happens to it.
async fn places(journey: Journey, backend: Backend, last: &[&'static str]) -> BTreeSet<&'static str> {
    let (stage, paused) = journey.stage(backend).await;
    let notes = Arc::new(Notes(watch::Sender::new(BTreeSet::new())));
    let world = World::system().with_fail_points(notes.clone());
    let mut service = stage.start_with(world, |config| config.concurrency = journey.workers()).await;
    journey.drive(&stage, &mut service, &paused).await;
    let mut seen = notes.0.subscribe();
    let all = seen.wait_for(|seen| last.iter().all(|point| seen.contains(point)));
    journey.own(tokio::time::timeout(PATIENCE, all).await.unwrap().unwrap().clone())
}

/// Kills the service at each place of a journey, each time on a new stage.
async fn kill_everywhere(journey: Journey, backend: Backend, last: &[&'static str], expected: &[&str]) {
    let places = places(journey, backend, last).await;
    assert_eq!(places.iter().copied().collect::<Vec<_>>(), expected);
    for place in places {
        let (stage, paused) = journey.stage(backend).await;
        let mut doomed = Elsewhere::start(&stage, &journey.doom(place)).await;
        journey.drive(&stage, &mut doomed.service, &paused).await;
        assert_eq!(doomed.ended().await.signal(), Some(SIGABRT), "{place}");

        let world = World::system();
        let mut service = stage.start_with(world, |config| config.concurrency = journey.workers()).await;
        journey.drive(&stage, &mut service, &paused).await;
        match journey {
            Journey::Retried => check_retried(&stage, &mut service, place).await,
            _ => check(journey, &stage, &mut service, place).await,
        }
        service.stop().await;
    }
}

async fn check(journey: Journey, stage: &Stage, service: &mut Service, place: &str) {
    let job_id = service.order_job().await.job_id;
    let events = service.events(&job_id, 0).await;
    let delivered = !matches!(journey, Journey::Part | Journey::Nothing);
    let last = if delivered { "completed" } else { "cancelled" };
    assert_whole(&events, 1, last);
    let (outcome, pages) = journey.outcome();
    for settled in stage.payment.wait_settled(1).await {
        let seen = (settled.job_id.as_str(), settled.outcome(), settled.delivered_pages);
        assert_eq!(seen, (job_id.as_str(), outcome, pages), "{place}");
    }
    assert_eq!(service.order_job().await.delivered_pages, pages, "{place}");

    let model = stage.model.as_ref().unwrap();
    let calls: usize = ["outline"].iter().chain(&KEYS).map(|asked| model.calls(asked)).sum();
    let needed = match journey {
        Journey::Part => 4,
        Journey::Nothing => 0,
        _ => 5,
    };
    // What was under way at the end of the process.
    let lost = if delivered { KEYS.len() } else { 1 };
    assert!((needed..=needed + lost).contains(&calls), "{calls} calls after {place}");
    let told = stage.document.told.lock().unwrap();
    assert_eq!(told.fenced, 0, "{place}");
    // Of two typesettings the second one's files stand; after the checkpoint there is no second one.
    let typeset = [
        "job.step.typeset.stored",
        "job.finish.",
        "job.cancel.part_",
        "job.cancel.before_end",
        "job.cancel.ended",
        "job.outbox.",
    ];
    let exports = match journey {
        Journey::Nothing => 0..=0,
        _ if typeset.iter().any(|prefix| place.starts_with(prefix)) => 2..=2,
        _ => 2..=4,
    };
    assert!(exports.contains(&told.exports.len()), "{} exports after {place}", told.exports.len());
}

/// One job goes on, with everything that the failed one had.
async fn check_retried(stage: &Stage, service: &mut Service, place: &str) {
    let failed = service.order_job().await.job_id;
    assert_whole(&service.events(&failed, 0).await, 1, "failed");
    let request = service.as_user(OWNER, pb::ListJobsRequest::default());
    let jobs = service.client.list_jobs(request).await.unwrap().into_inner().jobs;
    let [job] = &jobs.iter().filter(|job| job.id != failed).collect::<Vec<_>>()[..] else {
        panic!("{} jobs after {place}", jobs.len())
    };
    let events = service.events(&job.id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(of_kind(&events, "requeued")[0]["from"], *failed, "{place}");
    let model = stage.model.as_ref().unwrap();
    let bought = ["outline", "1.1", "1.2"].map(|asked| model.calls(asked));
    assert_eq!((bought, model.calls("2.1")), ([1; 3], 2), "{place}");
    let settled = stage.payment.wait_settled(1).await;
    assert!(settled.iter().all(|settled| settled.outcome() == JobOutcome::Failed), "{place}");
    assert_eq!(stage.document.told.lock().unwrap().delivered, [job.id.as_str()], "{place}");
}

async fn a_paid_job_survives_a_kill_at_every_place(backend: Backend) {
    let expected = [
        "job.finish.before_commit",
        "job.finish.committed",
        "job.finish.decided",
        "job.finish.reported",
        "job.outbox.claimed",
        "job.outbox.settle_sent",
        "job.outbox.settled",
        "job.queue.before_commit",
        "job.queue.claimed",
        "job.start.before_insert",
        "job.start.committed",
        "job.start.inserted",
        "job.step.attach.sent",
        "job.step.attach.stored",
        "job.step.model.kept",
        "job.step.model.reserved",
        "job.step.plan.sent",
        "job.step.plan.stored",
        "job.step.plan.written",
        "job.step.section.sent",
        "job.step.section.started",
        "job.step.section.stored",
        "job.step.section.written",
        "job.step.typeset.exported",
        "job.step.typeset.printed",
        "job.step.typeset.stored",
    ];
    kill_everywhere(Journey::Paid, backend, &["job.outbox.settled"], &expected).await;
}

async fn a_part_survives_a_kill_at_every_place(backend: Backend) {
    let expected = [
        "job.cancel.before_commit",
        "job.cancel.before_end",
        "job.cancel.committed",
        "job.cancel.ended",
        "job.cancel.part_decided",
        "job.cancel.part_reported",
        "job.outbox.claimed",
        "job.outbox.settle_sent",
        "job.outbox.settled",
        "job.step.typeset.exported",
        "job.step.typeset.printed",
        "job.step.typeset.stored",
    ];
    kill_everywhere(Journey::Part, backend, &["job.outbox.settled"], &expected).await;
}

async fn a_review_survives_a_kill_at_every_place(backend: Backend) {
    let expected = [
        "job.review.before_commit",
        "job.review.committed",
        "job.step.review.sent",
        "job.step.review.stored",
        "job.step.review.taken",
    ];
    kill_everywhere(Journey::Reviewed, backend, &["job.outbox.settled"], &expected).await;
}

async fn a_cancellation_before_the_start_survives_a_kill_at_every_place(backend: Backend) {
    let expected = [
        "job.cancel.before_commit",
        "job.cancel.committed",
        "job.outbox.claimed",
        "job.outbox.report_sent",
        "job.outbox.reported",
        "job.outbox.settle_sent",
        "job.outbox.settled",
    ];
    let last = ["job.outbox.settled", "job.outbox.reported"];
    kill_everywhere(Journey::Nothing, backend, &last, &expected).await;
}

async fn an_outline_before_the_order_survives_a_kill_at_every_place(backend: Backend) {
    let expected = [
        "job.finish.before_commit",
        "job.finish.committed",
        "job.queue.before_commit",
        "job.queue.claimed",
        "job.start.before_insert",
        "job.start.committed",
        "job.start.inserted",
        "job.step.model.kept",
        "job.step.model.reserved",
        "job.step.plan.sent",
        "job.step.plan.stored",
        "job.step.plan.taken",
        "job.step.plan.written",
    ];
    kill_everywhere(Journey::Outlined, backend, &["job.outbox.settled"], &expected).await;
}

async fn a_rest_survives_a_kill_at_every_place(backend: Backend) {
    let expected = [
        "job.pause.before_commit",
        "job.pause.committed",
        "job.queue.before_give_back",
        "job.queue.given_back",
        "job.resume.before_commit",
        "job.resume.committed",
    ];
    kill_everywhere(Journey::Rested, backend, &["job.outbox.settled"], &expected).await;
}

async fn a_retry_survives_a_kill_at_every_place(backend: Backend) {
    let expected = ["job.retry.committed", "job.retry.taken_over"];
    kill_everywhere(Journey::Retried, backend, &["job.retry.committed", "job.finish.committed"], &expected)
        .await;
}
