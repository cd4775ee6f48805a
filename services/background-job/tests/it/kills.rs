//! A process that is killed at each named place, and another one that takes over: nothing is lost, done twice or
//! settled differently.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

use quire_clock::{FailPoints, World};
use quire_fault::Fault;
use quire_proto::job::v1 as pb;
use quire_proto::payment::v1::JobOutcome;
use quire_testkit::Backend;
use tokio::sync::watch;

use crate::elsewhere::{Elsewhere, Halt, PATIENCE, Setup};
use crate::model::{FakeModel, KEYS, Reply, willing};
use crate::press::FixedPress;
use crate::reviews::approve;
use crate::stage::{DOCUMENT, ORDER, OWNER, Service, Stage, assert_whole};

quire_testkit::on_both_databases!(
    a_paid_job_survives_a_kill_at_every_place,
    a_part_survives_a_kill_at_every_place,
    a_cancellation_before_the_start_survives_a_kill_at_every_place,
    a_review_survives_a_kill_at_every_place,
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
}

impl Journey {
    async fn stage(self, backend: Backend) -> Stage {
        let model = FakeModel::start(move |asked, number| match (self, asked) {
            (Self::Part, "2.1") => Reply::Hangs("Half a sentence that".to_owned()),
            _ => willing(asked, number),
        });
        let stage = Stage::openai(backend, model.await).await;
        // The part that is cancelled is the first half.
        let mut stage = if self == Self::Part { stage.in_order() } else { stage };
        stage.press = Arc::new(FixedPress::pages(self.pages()));
        let review = self == Self::Reviewed;
        stage.document.brief.lock().unwrap().document.as_mut().unwrap().review_outline = review;
        stage
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
            Self::Paid | Self::Reviewed => (JobOutcome::Delivered, 6),
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
            Self::Part | Self::Nothing => !shared.iter().any(|prefix| point.starts_with(prefix)),
        };
        points.into_iter().filter(own).collect()
    }

    /// Asks for what happens, as often as need be: a process that dies does not answer.
    async fn drive(self, stage: &Stage, service: &mut Service) {
        let Ok(job) = service.start_order(ORDER, DOCUMENT, 6).await else { return };
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
    let stage = journey.stage(backend).await;
    let notes = Arc::new(Notes(watch::Sender::new(BTreeSet::new())));
    let world = World::system().with_fail_points(notes.clone());
    let mut service = stage.start_with(world, |config| config.concurrency = journey.workers()).await;
    journey.drive(&stage, &mut service).await;
    let mut seen = notes.0.subscribe();
    let all = seen.wait_for(|seen| last.iter().all(|point| seen.contains(point)));
    journey.own(tokio::time::timeout(PATIENCE, all).await.unwrap().unwrap().clone())
}

/// Kills the service at each place of a journey, each time on a new stage.
async fn kill_everywhere(journey: Journey, backend: Backend, last: &[&'static str], expected: &[&str]) {
    let places = places(journey, backend, last).await;
    assert_eq!(places.iter().copied().collect::<Vec<_>>(), expected);
    for place in places {
        let stage = journey.stage(backend).await;
        let mut doomed = Elsewhere::start(&stage, &journey.doom(place)).await;
        journey.drive(&stage, &mut doomed.service).await;
        assert_eq!(doomed.ended().await.signal(), Some(SIGABRT), "{place}");

        let world = World::system();
        let mut service = stage.start_with(world, |config| config.concurrency = journey.workers()).await;
        journey.drive(&stage, &mut service).await;
        check(journey, &stage, &mut service, place).await;
        service.stop().await;
    }
}

async fn check(journey: Journey, stage: &Stage, service: &mut Service, place: &str) {
    let job_id = service.order_job().await.job_id;
    let events = service.events(&job_id, 0).await;
    let delivered = matches!(journey, Journey::Paid | Journey::Reviewed);
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
        Journey::Paid | Journey::Reviewed => 5,
        Journey::Part => 4,
        Journey::Nothing => 0,
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
