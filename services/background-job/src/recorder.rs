//! Turns what a writer says into events and checkpoints while it writes.

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::attempt::Attempt;
use crate::chunks;
use crate::error::Stop;
use crate::events::Kind;
use crate::money::budget::Exhausted;
use crate::money::ledger::{self, Call, Outcome, Wanted};
use crate::recordings;
use crate::store::Change;
use crate::store::entity::step;
use crate::writer::{Draft, Note, Sink, WriteError};

/// Text waits at most this long for more before it is published.
const FLUSH_AFTER: Duration = Duration::from_millis(250);
/// More waiting text than this is published as soon as the next piece comes.
const FLUSH_BYTES: usize = 2048;
/// Text that was paid for is stored at the latest after this,
const STORE_AFTER: Duration = Duration::from_secs(2);
/// or when there is so much of it.
const STORE_BYTES: usize = 2048;
const NOTES: usize = 64;
/// How long before the next try when the database does not answer.
const DATABASE_AGAIN: Duration = Duration::from_millis(200);

/// Status of a checkpoint whose step is under way.
pub const RUNNING: &str = "running";
/// A model's answer is there; nothing is made of it yet.
pub const DRAFTED: &str = "drafted";
/// The result is there; the document service does not have it yet.
pub const WRITTEN: &str = "written";
/// Nothing is left to do.
pub const DONE: &str = "done";

/// Listens to a writer during one step.
pub struct Recorder<'a> {
    attempt: &'a Attempt<'a>,
    /// The step's checkpoint; its content and usage follow what the writer keeps.
    pub step: step::Model,
    /// Data of the `section_started` event; `None` for a step whose text nobody follows.
    section: Option<Value>,
    /// UTF-8 bytes published so far.
    offset: usize,
    pending: String,
    /// Paid text that is not stored yet.
    unstored: String,
    /// UTF-8 bytes of the answer under way that are stored as chunks.
    stored: usize,
    /// When the first of the text came that is not stored yet.
    unstored_since: Instant,
    /// The call under way.
    call: Option<Call>,
}

impl<'a> Recorder<'a> {
    /// `stored`: UTF-8 bytes of the answer under way that an earlier attempt left as chunks.
    pub fn new(attempt: &'a Attempt<'a>, step: step::Model, section: Option<Value>, stored: usize) -> Self {
        Self {
            attempt,
            step,
            section,
            offset: 0,
            pending: String::new(),
            unstored: String::new(),
            stored,
            unstored_since: Instant::now(),
            call: None,
        }
    }

    /// Runs `work` and records until it is done. Text that is not published yet stays for [`Self::finish`].
    ///
    /// # Errors
    /// As the work, or the lease is lost; the work is dropped then.
    pub async fn listen<T, F, Fut>(&mut self, work: F) -> Result<T, Stop>
    where
        F: FnOnce(Sink) -> Fut,
        Fut: Future<Output = Result<T, WriteError>>,
    {
        let (sender, notes) = mpsc::channel(NOTES);
        let work = work(Sink::new(sender));
        let record = self.record(notes);
        tokio::pin!(work, record);
        let mut result = None;
        loop {
            tokio::select! {
                recorded = &mut record => {
                    recorded?;
                    // Every sender is gone, so the work is at its end.
                    return match result {
                        Some(result) => Ok(result),
                        None => Ok(work.await?),
                    };
                }
                worked = &mut work, if result.is_none() => result = Some(worked?),
            }
        }
    }

    /// Adds the rest of the text to the change that stores the result, and drops what the result makes superfluous.
    pub async fn finish(&mut self, change: &mut Change) -> Result<(), Stop> {
        self.publish(change);
        Ok(chunks::drop_of(change, &self.step.job_id, &self.step.step_key).await?)
    }

    async fn record(&mut self, mut notes: mpsc::Receiver<Note>) -> Result<(), Stop> {
        let mut flush_at = Instant::now();
        loop {
            let note = match self.pending.is_empty() {
                true => notes.recv().await,
                false => match tokio::time::timeout_at(flush_at, notes.recv()).await {
                    Ok(note) => note,
                    Err(_) => {
                        self.flush().await?;
                        continue;
                    }
                },
            };
            let Some(note) = note else { return Ok(()) };
            match note {
                Note::Text(piece) => {
                    if let Some(call) = &mut self.call {
                        call.seen_bytes += piece.len();
                    }
                    if self.section.is_some() && self.unstored.is_empty() {
                        self.unstored_since = Instant::now();
                    }
                    self.show(&piece, &mut flush_at).await?;
                    if self.section.is_some() {
                        self.unstored.push_str(&piece);
                    }
                }
                Note::Show(piece) => self.show(&piece, &mut flush_at).await?,
                Note::Restart => self.restart().await?,
                // The writer may be gone by the time it is answered; then nobody waits.
                Note::Keep(draft, outcome, stored) => {
                    self.keep(&draft, outcome).await?;
                    let _ = stored.send(());
                }
                Note::Reserve(wanted, answer) => {
                    let _ = answer.send(self.reserve(&wanted).await?);
                }
                Note::Heard(heard) => {
                    if let Some(call) = &mut self.call {
                        call.heard = Some(heard);
                    }
                }
                Note::Settle(outcome, booked) => {
                    self.settle(outcome).await?;
                    let _ = booked.send(());
                }
            }
        }
    }

    /// Lets a piece wait for more, if anybody follows; but what waits already is published first if it is much.
    async fn show(&mut self, piece: &str, flush_at: &mut Instant) -> Result<(), Stop> {
        if self.section.is_none() || piece.is_empty() {
            return Ok(());
        }
        if self.pending.len() >= FLUSH_BYTES {
            self.flush().await?;
        }
        if self.pending.is_empty() {
            *flush_at = Instant::now() + FLUSH_AFTER;
        }
        self.pending.push_str(piece);
        Ok(())
    }

    /// While the database is away it is waited for, as long as the lease holds: the model is speaking, and that is paid.
    async fn change(&self) -> Result<Change, Stop> {
        loop {
            match self.attempt.store().change(self.attempt.lease).await {
                Err(Stop::Database(error)) => {
                    tracing::warn!(%error, "what the writer says cannot be stored yet");
                    tokio::time::sleep(DATABASE_AGAIN).await;
                }
                opened => return opened,
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        let mut change = self.change().await?;
        self.publish(&mut change);
        if self.unstored.len() >= STORE_BYTES || self.unstored_since.elapsed() >= STORE_AFTER {
            self.store_text(&change).await?;
        }
        if let Some(call) = &self.call {
            call.note(&change).await?;
        }
        Ok(change.commit().await?)
    }

    async fn store_text(&mut self, change: &Change) -> Result<(), Stop> {
        if self.unstored.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.unstored);
        let length = text.len();
        if let Some(call) = &self.call {
            recordings::append(change, call.id(), &text).await?;
        }
        chunks::add(change, &self.step, self.stored, text).await?;
        self.stored += length;
        Ok(())
    }

    /// What the writer keeps is more than the chunks, or makes them void.
    async fn drop_chunks(&mut self, change: &Change) -> Result<(), Stop> {
        self.unstored.clear();
        self.stored = 0;
        Ok(chunks::drop_of(change, &self.step.job_id, &self.step.step_key).await?)
    }

    async fn restart(&mut self) -> Result<(), Stop> {
        self.pending.clear();
        self.offset = 0;
        let Some(mut section) = self.section.clone() else {
            return Ok(());
        };
        section["restart"] = json!(true);
        let mut change = self.change().await?;
        self.drop_chunks(&change).await?;
        if let Some(call) = &self.call {
            recordings::void(&change, call.id()).await?;
        }
        change.event(Kind::SectionStarted, section);
        Ok(change.commit().await?)
    }

    async fn keep(&mut self, draft: &Draft, outcome: Option<Outcome>) -> Result<(), Stop> {
        self.step.status = DRAFTED.to_owned();
        self.step.content = Some(serde_json::to_string(draft).expect("texts and numbers"));
        self.step.input_tokens = draft.usage.input_tokens;
        self.step.output_tokens = draft.usage.output_tokens;
        let mut change = self.change().await?;
        change.checkpoint(self.step.clone()).await?;
        self.drop_chunks(&change).await?;
        if let Some((call, outcome)) = self.call.take_if(|_| outcome.is_some()).zip(outcome) {
            call.settle(&change, outcome).await?;
        }
        self.publish(&mut change);
        change.commit().await?;
        self.attempt.reach("job.step.model.kept");
        Ok(())
    }

    async fn reserve(&mut self, wanted: &Wanted) -> Result<Result<(), Exhausted>, Stop> {
        let (attempt, change) = (self.attempt, self.change().await?);
        let (step_key, budgets) = (&self.step.step_key, &attempt.tools.budgets);
        let who = (attempt.job, attempt.lease);
        let reserved = ledger::reserve(&change, attempt.store(), who, step_key, wanted, budgets).await?;
        let answer = match reserved {
            Ok(call) => {
                recordings::open(&change, &self.step, call.id(), &wanted.request_hash).await?;
                self.call = Some(call);
                Ok(())
            }
            Err(exhausted) => Err(exhausted),
        };
        change.commit().await?;
        if answer.is_ok() {
            attempt.reach("job.step.model.reserved");
        }
        Ok(answer)
    }

    /// The text of the call is stored with it, so that what is paid is not bought again.
    async fn settle(&mut self, outcome: Outcome) -> Result<(), Stop> {
        let Some(call) = self.call.take() else { return Ok(()) };
        let mut change = self.change().await?;
        self.publish(&mut change);
        self.store_text(&change).await?;
        call.settle(&change, outcome).await?;
        Ok(change.commit().await?)
    }

    fn publish(&mut self, change: &mut Change) {
        let (Some(section), false) = (&self.section, self.pending.is_empty()) else {
            return;
        };
        let text = std::mem::take(&mut self.pending);
        let data = json!({ "key": section["key"], "offset": self.offset, "text": text });
        self.offset += text.len();
        change.event(Kind::Text, data);
    }
}
