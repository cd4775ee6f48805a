//! The model: where a job can be after each of its events.

use std::collections::BTreeSet;

use serde_json::Value;

use super::books::{Event, Job};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Queued,
    Running,
    Paused,
    Ended(&'static str),
}

/// What the events of a job say so far.
#[derive(Debug)]
pub struct Machine {
    pub state: State,
    /// As the last start said.
    pub attempt: i64,
    pub started: usize,
    /// Attempts of the present step that ended without a word, at most.
    pub crashes: i64,
    pub sections: BTreeSet<String>,
    /// Why it failed.
    pub failure: String,
    planned: bool,
    percent: i64,
}

const ENDS: [&str; 3] = ["completed", "failed", "cancelled"];

impl Machine {
    /// Reads a whole log.
    pub fn of(job: &Job, events: &[Event]) -> Result<Self, String> {
        let mut machine = Self {
            state: State::Queued,
            attempt: 0,
            started: 0,
            crashes: 0,
            sections: BTreeSet::new(),
            failure: String::new(),
            planned: false,
            percent: 0,
        };
        for (number, event) in (1..).zip(events) {
            if event.seq != number {
                return Err(format!("event {} stands where {number} should", event.seq));
            }
            machine.apply(job, number, &event.kind, &event.data())?;
        }
        Ok(machine)
    }

    fn apply(&mut self, job: &Job, number: i64, kind: &str, data: &Value) -> Result<(), String> {
        use State::{Ended, Paused, Queued, Running};
        if let Some(percent) = data["percent"].as_i64() {
            if percent < self.percent {
                return Err(format!("{percent} percent after {}", self.percent));
            }
            self.percent = percent;
        }
        // A paused job goes on without a word if it shall end.
        let ending = job.cancel_requested_at.is_some();
        self.state = match (self.state, kind) {
            (Queued, "queued") if number == 1 => Queued,
            (Queued, "requeued") if number == 2 && job.order_id.is_none() => Queued,
            (Queued | Running, "started") => self.start(data["attempt"].as_i64().unwrap_or_default())?,
            (Paused, "started") if ending => self.start(data["attempt"].as_i64().unwrap_or_default())?,
            (Running, "planned") if !self.planned => {
                self.planned = true;
                self.crashes = 0;
                Running
            }
            (Running, "section_done") if self.sections.insert(text(&data["key"])) => {
                self.crashes = 0;
                Running
            }
            (Running, "section_started" | "text") if !self.sections.contains(&text(&data["key"])) => Running,
            (Running, "typesetting") => Running,
            (Running, "retrying") => {
                self.crashes += i64::from(data["reason"] == "the work broke off");
                Queued
            }
            (Queued | Running, "paused") => {
                self.crashes += i64::from(self.state == Running);
                Paused
            }
            (Paused, "resumed") => Queued,
            (Running, "completed" | "failed") | (Queued | Running | Paused, "cancelled") => {
                self.failure = text(&data["reason"]);
                Ended(ENDS.into_iter().find(|end| *end == kind).unwrap())
            }
            (state, kind) => return Err(format!("{kind} ({data}) after {state:?}")),
        };
        Ok(())
    }

    /// Twice the same number: the attempt before was given back and not counted.
    fn start(&mut self, attempt: i64) -> Result<State, String> {
        if attempt != self.attempt + 1 && !(attempt == self.attempt && self.started > 0) {
            return Err(format!("attempt {attempt} after {}", self.attempt));
        }
        self.crashes += i64::from(self.state == State::Running && attempt == self.attempt + 1);
        (self.attempt, self.started) = (attempt, self.started + 1);
        Ok(State::Running)
    }

    /// Whether the job's row says the same as its log. Giving back and taking a pause away leave no event.
    pub fn check(&self, job: &Job) -> Result<(), String> {
        let fits = match (self.state, job.status.as_str()) {
            (State::Queued, "queued")
            | (State::Running, "running" | "queued")
            | (State::Paused, "paused") => true,
            (State::Paused, "queued") => job.cancel_requested_at.is_some(),
            (State::Ended(end), status) => end == status,
            _ => false,
        };
        let ended = matches!(self.state, State::Ended(_));
        let numbers = [
            ("status", fits),
            ("finished_at", ended == job.finished_at.is_some()),
            ("attempt", [self.attempt, self.attempt - 1].contains(&job.attempt)),
            ("crash_count", job.crash_count <= self.crashes + i64::from(self.failure == "poison")),
            ("poison", self.failure != "poison" || (job.crash_count == 3 && self.crashes >= 2)),
            ("sections_done", i64::try_from(self.sections.len()) == Ok(job.sections_done)),
            ("percent", job.percent >= self.percent),
        ];
        let wrong: Vec<&str> = numbers.iter().filter(|(_, right)| !right).map(|(name, _)| *name).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?} of {job:?} against {self:?}")) }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
