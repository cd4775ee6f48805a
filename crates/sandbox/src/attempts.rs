//! What was tried to deliver events.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use serde::Serialize;

/// How many attempts the log keeps.
const MAX_LOGGED: usize = 10_000;

/// One attempt to deliver an event.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// The id of the event.
    pub event: String,
    /// The type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status of the answer, or nothing if there was none in time.
    pub status: Option<u16>,
    /// Whether the signature was made with a wrong secret on purpose.
    pub forged: bool,
    /// Whether it was lost on the way on purpose: the receiver saw nothing.
    pub lost: bool,
    /// When the attempt began, in seconds since the Unix epoch.
    pub at: i64,
}

/// The latest attempts.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<VecDeque<Attempt>>);

impl Attempts {
    pub(crate) fn add(&self, attempt: Attempt) {
        let mut log = self.lock();
        if log.len() == MAX_LOGGED {
            log.pop_front();
        }
        log.push_back(attempt);
    }

    /// All that are kept, oldest first.
    pub(crate) fn all(&self) -> Vec<Attempt> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Attempt>> {
        self.0.lock().expect("no holder panics")
    }
}
