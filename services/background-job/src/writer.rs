//! What a writer is: it plans a document and writes it section by section.
//!
//! The engine keeps everything a writer gives: text as it comes, the finished answer of a model before anything
//! is made of it, and the section. A writer that is started again for the same section gets back what was kept,
//! so that no model is paid twice for the same words.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quire_manuscript::{Block, Reference};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::error::Stop;
use crate::money::budget::Exhausted;
use crate::money::ledger::{Outcome, Wanted};
use crate::peers::SourceText;
use crate::recordings::Heard;
use crate::tape::Tape;

/// What shall be written.
#[derive(Debug, Clone)]
pub struct Task {
    pub title: String,
    pub topic: String,
    /// BCP 47 primary language subtag.
    pub language: String,
    /// Pages of the delivered PDF.
    pub pages: u32,
    /// Chapter titles wished by the customer; may be empty.
    pub chapter_titles: Vec<String>,
    pub sources: Vec<SourceText>,
}

/// Chapters and sections, and what the writer wants to find again at each section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub chapters: Vec<PlannedChapter>,
    pub state: Value,
    #[serde(skip)]
    pub usage: Usage,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChapter {
    pub title: String,
    /// What it covers, in one sentence; empty: nobody said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    pub sections: Vec<PlannedSection>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSection {
    /// Unique in the document: `2.1`.
    pub key: String,
    /// `None`: its blocks stand directly below the chapter's heading.
    pub title: Option<String>,
    /// What it covers and its neighbours do not, in one sentence; empty: nobody said. Left out then, so that plans of
    /// before keep their hash.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub brief: String,
    /// Words that it should have; 0: as many as every other section.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub words: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Plan {
    /// Every section in order, with its chapter.
    pub fn sections(&self) -> impl Iterator<Item = (&PlannedChapter, &PlannedSection)> {
        self.chapters
            .iter()
            .flat_map(|chapter| chapter.sections.iter().map(move |section| (chapter, section)))
    }
}

/// One section to be written.
pub struct Order<'a> {
    pub plan: &'a Plan,
    pub key: &'a str,
    /// The sections that it is told of, in order: all up to those that may be written at the same time.
    pub before: &'a [Arc<Written>],
}

/// A finished section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Written {
    pub key: String,
    pub blocks: Vec<Block>,
    /// `digest`, or the model's name.
    pub writer: String,
    /// What later sections must know of it; empty if they need nothing.
    #[serde(default)]
    pub summary: String,
    #[serde(default)]
    pub usage: Usage,
}

/// Tokens that were paid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub input_tokens: i64,
    pub output_tokens: i64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
    }
}

/// A model's answers so far for one step, as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// One for each complete try.
    pub answers: Vec<String>,
    /// The first part of the next one: it was cut for lack of room, or its process died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<String>,
    /// So many of the last answers were of no use, and the step failed for them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub useless: u32,
    /// Of all of them.
    pub usage: Usage,
}

impl Draft {
    /// What another job can go on from.
    #[must_use]
    pub fn of_use(mut self) -> Self {
        let useless = usize::try_from(self.useless).unwrap_or(usize::MAX);
        self.answers.truncate(self.answers.len().saturating_sub(useless));
        self.useless = 0;
        self
    }
}

/// Why a writer gave up.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{reason}")]
    Retry { reason: String, after: Option<Duration> },
    /// The provider lets nobody in at present, whatever is asked: tries are not counted.
    #[error("{reason}")]
    Wait { reason: String, after: Option<Duration> },
    /// The next call could cost more than a budget has left.
    #[error("{}", .0.sentence())]
    Budget(Exhausted),
    #[error("{sentence}")]
    Failed {
        reason: &'static str,
        /// For the customer: one sentence without internals.
        sentence: String,
    },
    /// The engine listens no longer.
    #[error("the attempt ended")]
    Ended,
}

impl WriteError {
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { reason: reason.into(), after: None }
    }

    pub fn failed(reason: &'static str, sentence: impl Into<String>) -> Self {
        Self::Failed { reason, sentence: sentence.into() }
    }
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Retry { reason, after } => Self::Retry { reason, after },
            WriteError::Wait { reason, after } => Self::Wait { reason, after },
            WriteError::Budget(exhausted) => Self::Budget(exhausted),
            WriteError::Failed { reason, sentence } => Self::Failed { reason, sentence },
            WriteError::Ended => Self::LeaseLost,
        }
    }
}

/// Writes documents of one kind.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Gets ready for one document; called once in each attempt.
    ///
    /// # Errors
    /// The task is not one that this writer can do.
    async fn open(&self, task: Arc<Task>) -> Result<Box<dyn Pen>, WriteError>;
}

/// A writer at work on one document.
#[async_trait]
pub trait Pen: Send + Sync {
    async fn plan(&self, kept: Draft, sink: &Sink) -> Result<Plan, WriteError>;

    /// The plan with the chapters that the customer made of it. What cannot be written is left out.
    async fn revise(&self, plan: &Plan, chapters: Vec<PlannedChapter>) -> Result<Plan, WriteError>;

    async fn write(&self, order: Order<'_>, kept: Draft, sink: &Sink) -> Result<Written, WriteError>;

    /// What the sections cite, in the order of first citation.
    fn references(&self, plan: &Plan, sections: &[Written]) -> Vec<Reference>;

    /// How the text was made by these writers, in one sentence in the document's language.
    fn disclosure(&self, writers: &[&str]) -> String;
}

/// Where a writer's text goes while it is written.
pub struct Sink {
    notes: mpsc::Sender<Note>,
    tape: Option<Arc<Tape>>,
}

/// What a writer tells the engine.
pub(crate) enum Note {
    /// The next piece of an answer that is paid for.
    Text(String),
    /// Text for those who follow only.
    Show(String),
    Restart,
    /// With how the call ended that gave its last answer.
    Keep(Draft, Option<Outcome>, oneshot::Sender<()>),
    Reserve(Wanted, oneshot::Sender<Result<(), Exhausted>>),
    /// What was heard of the call that was reserved last.
    Heard(Heard),
    Settle(Outcome, oneshot::Sender<()>),
}

impl Sink {
    pub(crate) fn new(notes: mpsc::Sender<Note>) -> Self {
        Self { notes, tape: None }
    }

    /// For a step that is done once more: its models are not asked.
    pub(crate) fn playing(notes: mpsc::Sender<Note>, tape: Arc<Tape>) -> Self {
        Self { notes, tape: Some(tape) }
    }

    /// What answers in place of a model, if anything.
    pub fn tape(&self) -> Option<&Tape> {
        self.tape.as_deref()
    }

    /// The next piece of an answer that is paid for: it is stored soon, so that a process that dies has to buy
    /// little of it again, and those who follow the job see it.
    pub async fn text(&self, piece: impl Into<String>) -> Result<(), WriteError> {
        self.tell(Note::Text(piece.into())).await
    }

    /// Text for those who follow the job: it is stored already, or made again at no cost.
    pub async fn show(&self, piece: impl Into<String>) -> Result<(), WriteError> {
        self.tell(Note::Show(piece.into())).await
    }

    /// The text so far is void; the section starts again.
    pub async fn restart(&self) -> Result<(), WriteError> {
        self.tell(Note::Restart).await
    }

    /// Stores a model's answers; returns when they are safe.
    pub async fn keep(&self, draft: &Draft) -> Result<(), WriteError> {
        self.ask(|stored| Note::Keep(draft.clone(), None, stored)).await
    }

    /// The same, and books the call that was reserved last, in one step.
    pub async fn keep_paid(&self, draft: &Draft, outcome: Outcome) -> Result<(), WriteError> {
        self.ask(|stored| Note::Keep(draft.clone(), Some(outcome), stored)).await
    }

    /// Reserves the money of a call. It must be settled before the next one.
    ///
    /// # Errors
    /// [`WriteError::Budget`].
    pub async fn reserve(&self, wanted: Wanted) -> Result<(), WriteError> {
        self.ask(|answer| Note::Reserve(wanted, answer)).await?.map_err(WriteError::Budget)
    }

    /// Records what was heard of the call that was reserved last; stored when it is booked.
    pub async fn heard(&self, heard: Heard) -> Result<(), WriteError> {
        self.tell(Note::Heard(heard)).await
    }

    /// Books the call that was reserved last and gave no answer to keep.
    pub async fn settle(&self, outcome: Outcome) -> Result<(), WriteError> {
        self.ask(|booked| Note::Settle(outcome, booked)).await
    }

    async fn tell(&self, note: Note) -> Result<(), WriteError> {
        self.notes.send(note).await.map_err(|_| WriteError::Ended)
    }

    async fn ask<T>(&self, note: impl FnOnce(oneshot::Sender<T>) -> Note) -> Result<T, WriteError> {
        let (answer, answered) = oneshot::channel();
        self.tell(note(answer)).await?;
        answered.await.map_err(|_| WriteError::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sections are found again by the hash of their plan.
    #[test]
    fn a_plan_of_before_is_read_and_written_as_it_was() {
        let stored = r#"{"chapters":[{"title":"Paper","sections":[{"key":"1.1","title":"Rags"},{"key":"1.2","title":null}]}],"state":null}"#;
        let plan: Plan = serde_json::from_str(stored).unwrap();
        assert_eq!(
            (plan.chapters[0].sections[0].brief.as_str(), plan.chapters[0].sections[0].words),
            ("", 0)
        );
        assert_eq!(serde_json::to_string(&plan).unwrap(), stored);
    }
}
