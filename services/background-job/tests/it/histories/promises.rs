//! What must hold at every moment, what must never go back, and what must be true when all is over.

use std::collections::{BTreeMap, BTreeSet};

use quire_proto::payment::v1::{JobOutcome, SettleOrderRequest};

use super::author::Author;
use super::books::{Job, Snapshot};
use super::machine::{Machine, State};

/// Of one user, and of all together.
pub const PER_USER: usize = 2;
pub const GLOBAL: usize = 3;
/// Steps that no model is asked about again.
const STORED: [&str; 2] = ["written", "done"];

/// What was seen so far.
#[derive(Default)]
pub struct Promises {
    seen: BTreeMap<String, Job>,
    done: BTreeSet<(String, String)>,
    /// Calls for what is stored, by document and what was asked for.
    bought: BTreeMap<(String, String), usize>,
}

impl Promises {
    /// Fails on the first promise that is broken. `author` must not have been asked for its calls before the snapshot.
    pub fn check(&mut self, snapshot: &Snapshot, author: &Author) {
        for job in &snapshot.jobs {
            let events = snapshot.events_of(job);
            assert_eq!(i64::try_from(events.len()), Ok(job.last_seq), "{job:?}");
            let machine = Machine::of(job, &events).and_then(|machine| machine.check(job));
            machine.unwrap_or_else(|wrong| panic!("{wrong}\n{events:#?}"));
            assert_eq!(
                job.status == "running",
                !job.boot_id.is_empty(),
                "leases are of running jobs: {job:?}"
            );
            self.goes_forward(job);
        }
        assert_limits(snapshot);
        let done = |step: &&super::books::StepRow| step.status == "done";
        let now: BTreeSet<_> = snapshot
            .steps
            .iter()
            .filter(done)
            .map(|step| (step.job_id.clone(), step.step_key.clone()))
            .collect();
        assert!(self.done.is_subset(&now), "a step that was done is not: {:?}", self.done.difference(&now));
        self.done = now;
        self.nothing_is_bought_twice(snapshot, author);
    }

    fn goes_forward(&mut self, job: &Job) {
        if let Some(before) = self.seen.insert(job.id.clone(), job.clone()) {
            let numbers = |job: &Job| [job.epoch, job.last_seq, job.percent, job.sections_done];
            let forward = numbers(&before).iter().zip(numbers(job)).all(|(before, now)| *before <= now);
            let ended = before.finished_at.is_some();
            let same = (&before.status, before.last_seq, before.finished_at)
                == (&job.status, job.last_seq, job.finished_at);
            assert!(forward && (!ended || same), "{before:?} became {job:?}");
        }
    }

    fn nothing_is_bought_twice(&mut self, snapshot: &Snapshot, author: &Author) {
        let calls = author.calls();
        for step in snapshot.steps.iter().filter(|step| STORED.contains(&step.status.as_str())) {
            let asked = match step.step_key.as_str() {
                "plan" => "outline",
                key => key.strip_prefix("section:").unwrap_or_default(),
            };
            let job = snapshot.jobs.iter().find(|job| job.id == step.job_id).unwrap();
            let asked = (job.document_id.clone(), asked.to_owned());
            let Some(calls) = calls.get(&asked) else { continue };
            let before = *self.bought.entry(asked.clone()).or_insert(*calls);
            assert_eq!(before, *calls, "{asked:?} is stored, and the model was asked for it again");
        }
    }

    /// Every job has ended, and the messages about it were taken.
    pub fn check_rest(
        &mut self,
        snapshot: &Snapshot,
        author: &Author,
        settled: &[SettleOrderRequest],
        must_end: &BTreeSet<String>,
        may_end: &BTreeSet<String>,
    ) -> BTreeSet<String> {
        self.check(snapshot, author);
        let open: Vec<_> = snapshot.calls.iter().filter(|call| call.status == "open").collect();
        assert!(open.is_empty(), "calls that nobody books: {open:?}");
        assert!(snapshot.chunks.is_empty(), "pieces that nobody needs: {:?}", snapshot.chunks);
        let undelivered: Vec<_> =
            snapshot.messages.iter().filter(|message| message.done_at.is_none()).collect();
        assert!(undelivered.is_empty(), "{undelivered:?}");
        let mut ends = BTreeSet::new();
        for job in &snapshot.jobs {
            let machine = Machine::of(job, &snapshot.events_of(job)).unwrap();
            let State::Ended(end) = machine.state else { panic!("it has not ended: {job:?}") };
            ends.insert(end.to_owned());
            assert_eq!(job.status, end);
            let asked = may_end.contains(&job.id);
            match end {
                "completed" => {
                    assert!(!must_end.contains(&job.id), "it was asked to end: {job:?}");
                    assert_eq!((job.counted_pages, job.percent, job.sections_done), (6, 100, 4), "{job:?}");
                }
                "failed" => {
                    let refused = author.refused(&job.document_id);
                    let why = ["poison", "retries_exhausted"].contains(&machine.failure.as_str());
                    assert!(why || refused, "nothing was wrong: {} {job:?}", machine.failure);
                    assert!(!must_end.contains(&job.id), "nobody waits for it: {job:?}");
                }
                _ => {
                    assert!(asked, "nobody wanted it to end: {job:?}");
                    assert!(job.refunded_at.is_none() || job.part_pages == 0, "{job:?}");
                    assert!(job.part_pages == 0 || job.sections_done > 0, "{job:?}");
                }
            }
            self.is_settled(job, end, snapshot, settled);
            let calls: usize = author
                .calls()
                .iter()
                .filter(|((document, asked), _)| *document == job.document_id && asked == "outline")
                .map(|(_, calls)| calls)
                .sum();
            let of_document = |other: &&Job| other.document_id == job.document_id;
            let started: usize = snapshot
                .jobs
                .iter()
                .filter(of_document)
                .map(|job| Machine::of(job, &snapshot.events_of(job)).unwrap().started)
                .sum();
            assert!(calls <= started, "{calls} outlines in {started} attempts");
        }
        ends
    }

    /// Payment heard of it once, or the same several times.
    fn is_settled(&self, job: &Job, end: &str, snapshot: &Snapshot, settled: &[SettleOrderRequest]) {
        let messages = |kind: &str| {
            snapshot
                .messages
                .iter()
                .filter(|message| message.job_id == job.id && message.kind == kind)
                .count()
        };
        let Some(order_id) = &job.order_id else {
            assert_eq!(messages("settle"), 0, "{job:?}");
            return;
        };
        assert_eq!(messages("settle"), 1, "{job:?}");
        let expected = match end {
            "completed" => (JobOutcome::Delivered, job.counted_pages),
            "failed" => (JobOutcome::Failed, 0),
            _ => (JobOutcome::Cancelled, job.part_pages),
        };
        let told: Vec<_> = settled.iter().filter(|settled| settled.order_id == *order_id).collect();
        assert!(!told.is_empty(), "{job:?}");
        for told in told {
            let told = (told.job_id.as_str(), told.outcome(), i64::from(told.delivered_pages));
            assert_eq!(told, (job.id.as_str(), expected.0, expected.1));
        }
    }
}

fn assert_limits(snapshot: &Snapshot) {
    let live: Vec<&Job> = snapshot
        .jobs
        .iter()
        .filter(|job| job.status == "running" && job.expires_at >= snapshot.now)
        .collect();
    assert!(live.len() <= GLOBAL, "{} jobs at work", live.len());
    for job in &live {
        let of_user = live.iter().filter(|other| other.user_id == job.user_id).count();
        assert!(of_user <= PER_USER, "{of_user} jobs of {} at work", job.user_id);
    }
}
