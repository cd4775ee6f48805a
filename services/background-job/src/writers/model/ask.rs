//! What a model is asked, and what is heard of its answer, in no provider's words.

use crate::money::ledger::Outcome;
pub use crate::recordings::End;
use crate::writer::{Usage, WriteError};

/// A part of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Message {
    pub role: &'static str,
    pub content: String,
}

pub const SYSTEM: &str = "system";

impl Message {
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: SYSTEM, content: content.into() }
    }

    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user", content: content.into() }
    }

    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: "assistant", content: content.into() }
    }
}

/// One call.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub messages: &'a [Message],
    /// The text that the answer continues; empty for a new one.
    pub after: &'a str,
    /// The model shall say it in another way than it did.
    pub differently: bool,
}

impl Ask<'_> {
    /// UTF-8 bytes of everything that is said to the model.
    pub fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.content.len()).sum()
    }
}

/// What one event of a stream says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    pub text: String,
    pub end: Option<End>,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    /// Nothing comes after it.
    pub last: bool,
}

/// What the model said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Without what it repeats of the text before it.
    pub text: String,
    /// It stopped because there was no more room, not because it was done.
    pub cut: bool,
    pub usage: Usage,
    /// Still to be booked, with the text.
    pub outcome: Outcome,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Trouble {
    /// The model says the same over and over; what it said is void.
    Looping,
    /// The stream holds something that is no answer; what came before it is void.
    Garbled(&'static str),
    Other(WriteError),
}

impl From<WriteError> for Trouble {
    fn from(error: WriteError) -> Self {
        Self::Other(error)
    }
}

impl From<Trouble> for WriteError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Looping => Self::retry("the model said the same over and over"),
            Trouble::Garbled(reason) => Self::retry(reason),
            Trouble::Other(error) => error,
        }
    }
}
