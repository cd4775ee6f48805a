//! Turns what a writer says into events and checkpoints while it writes.

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::Stop;
use crate::events::Kind;
use crate::lease::Lease;
use crate::store::entity::step;
use crate::store::{Change, Store};
use crate::writer::{Note, Sink, WriteError};

/// Text waits at most this long for more before it is published.
const FLUSH_AFTER: Duration = Duration::from_millis(250);
/// More waiting text than this is published as soon as the next piece comes.
const FLUSH_BYTES: usize = 2048;
const NOTES: usize = 64;

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
    pub store: &'a Store,
    pub lease: &'a Lease,
    /// The step's checkpoint; its content and usage follow what the writer keeps.
    pub step: step::Model,
    /// Data of the `section_started` event; `None` for a step whose text nobody follows.
    pub section: Option<Value>,
    /// UTF-8 bytes published so far.
    offset: usize,
    pending: String,
}

impl<'a> Recorder<'a> {
    pub fn new(store: &'a Store, lease: &'a Lease, step: step::Model, section: Option<Value>) -> Self {
        Self { store, lease, step, section, offset: 0, pending: String::new() }
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

    /// Adds the rest of the text to the change that stores the result.
    pub fn finish(&mut self, change: &mut Change) {
        self.publish(change);
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
            match note {
                None => return Ok(()),
                Some(Note::Text(piece)) => {
                    if self.pending.len() >= FLUSH_BYTES {
                        self.flush().await?;
                    }
                    if self.pending.is_empty() {
                        flush_at = Instant::now() + FLUSH_AFTER;
                    }
                    if self.section.is_some() {
                        self.pending.push_str(&piece);
                    }
                }
                Some(Note::Restart) => self.restart().await?,
                Some(Note::Keep(draft, stored)) => {
                    self.step.status = DRAFTED.to_owned();
                    self.step.content = Some(serde_json::to_string(&draft).expect("texts and numbers"));
                    self.step.input_tokens = draft.usage.input_tokens;
                    self.step.output_tokens = draft.usage.output_tokens;
                    let mut change = self.store.change(self.lease).await?;
                    change.checkpoint(self.step.clone()).await?;
                    self.publish(&mut change);
                    change.commit().await?;
                    // The writer may be gone; then nobody waits.
                    let _ = stored.send(());
                }
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        let mut change = self.store.change(self.lease).await?;
        self.publish(&mut change);
        Ok(change.commit().await?)
    }

    async fn restart(&mut self) -> Result<(), Stop> {
        self.pending.clear();
        self.offset = 0;
        let Some(mut section) = self.section.clone() else {
            return Ok(());
        };
        section["restart"] = json!(true);
        let mut change = self.store.change(self.lease).await?;
        change.event(Kind::SectionStarted, section);
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
