//! One step of a job done once more: what its writer says is heard as the recorder hears it, and kept nowhere.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::tape::{Stopped, Tape};
use crate::writer::{Draft, Note, Sink, WriteError};

const NOTES: usize = 64;

/// What a step came to.
#[derive(Debug)]
pub enum Played<T> {
    Written(T),
    /// With the sentence for the customer.
    Failed(String),
    NoRecording,
    /// With the hash of the request that was never made.
    PromptChanged(String),
}

/// Plays the attempts at one step, in their order.
pub struct Player {
    tape: Arc<Tape>,
    /// Whether text is stored as it comes, as that of sections is.
    keeps_text: bool,
    kept: Mutex<Kept>,
}

/// What the next attempt finds, as its checkpoint and its chunks.
#[derive(Debug, Default)]
struct Kept {
    draft: Draft,
    text: String,
}

impl Player {
    pub fn new(tape: Tape, keeps_text: bool) -> Self {
        Self { tape: Arc::new(tape), keeps_text, kept: Mutex::default() }
    }

    /// Recordings that were used.
    pub fn played(&self) -> usize {
        self.tape.played()
    }

    /// Does the step as often as it was tried.
    pub async fn play<T, F, Fut>(&self, work: F) -> Played<T>
    where
        F: Fn(Draft, Sink) -> Fut,
        Fut: Future<Output = Result<T, WriteError>>,
    {
        loop {
            let before = self.played();
            let (sender, notes) = mpsc::channel(NOTES);
            let work = work(self.draft(), Sink::playing(sender, self.tape.clone()));
            let (result, ()) = tokio::join!(work, self.hear(notes));
            let error = match result {
                Ok(value) => return Played::Written(value),
                Err(error) => error,
            };
            match self.tape.stopped() {
                Some(Stopped::Died(text)) => self.with(|kept| kept.text.push_str(&text)),
                Some(Stopped::Over) => return Played::NoRecording,
                Some(Stopped::Unknown(hash)) => return Played::PromptChanged(hash),
                None => {
                    let may_pass = matches!(error, WriteError::Retry { .. } | WriteError::Wait { .. });
                    let taken_over = self.with(|kept| kept.draft.useless > 0);
                    if !(may_pass || taken_over) || self.tape.is_over() || self.played() == before {
                        return Played::Failed(error.to_string());
                    }
                }
            }
        }
    }

    /// What an attempt starts with.
    fn draft(&self) -> Draft {
        self.with(|kept| {
            let mut draft = kept.draft.clone().of_use();
            if !kept.text.is_empty() {
                draft.partial.get_or_insert_default().push_str(&kept.text);
            }
            draft
        })
    }

    async fn hear(&self, mut notes: mpsc::Receiver<Note>) {
        while let Some(note) = notes.recv().await {
            match note {
                Note::Text(text) if self.keeps_text => self.with(|kept| kept.text.push_str(&text)),
                Note::Restart => self.with(|kept| kept.text.clear()),
                Note::Keep(draft, _, stored) => {
                    self.with(|kept| *kept = Kept { draft, text: String::new() });
                    // The writer may be gone by now; then nobody waits.
                    let _ = stored.send(());
                }
                Note::Settle(_, booked) => {
                    let _ = booked.send(());
                }
                Note::Reserve(_, answer) => {
                    let _ = answer.send(Ok(()));
                }
                Note::Text(_) | Note::Show(_) | Note::Heard(_) => {}
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
