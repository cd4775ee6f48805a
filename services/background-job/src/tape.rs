//! The recorded calls of one step, played back in place of a model.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::recordings::{Ending, Heard};

/// What takes the place of a model while a job is written once more.
#[derive(Debug, Default)]
pub struct Tape(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    calls: VecDeque<(String, Heard)>,
    played: usize,
    stopped: Option<Stopped>,
}

/// Why the tape stopped in the middle of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// The process died there; this was stored of the answer.
    Died(String),
    /// Nothing more was recorded.
    Over,
    /// The request with this hash was never made.
    Unknown(String),
}

impl Tape {
    /// `calls` in their order, each with the hash of its request.
    pub fn new(calls: Vec<(String, Heard)>) -> Self {
        Self(Mutex::new(State { calls: calls.into(), ..State::default() }))
    }

    /// The next answer to a request. `None`: the tape stops, and says why in [`Self::stopped`].
    pub fn play(&self, request_hash: &str) -> Option<Heard> {
        let mut state = self.state();
        // Those before it belong to what was asked of an earlier plan.
        let found = state.calls.iter().position(|(hash, _)| hash == request_hash);
        let heard = match found {
            Some(at) => state.calls.drain(..=at).next_back().map(|(_, heard)| heard),
            None => None,
        };
        let Some(heard) = heard else {
            state.stopped = Some(match state.calls.is_empty() {
                true => Stopped::Over,
                false => Stopped::Unknown(request_hash.to_owned()),
            });
            return None;
        };
        state.played += 1;
        if heard.ending == Ending::Open {
            state.stopped = Some(Stopped::Died(heard.answer));
            return None;
        }
        Some(heard)
    }

    /// Why it stopped, once.
    pub fn stopped(&self) -> Option<Stopped> {
        self.state().stopped.take()
    }

    /// Whether nothing is left to play.
    pub fn is_over(&self) -> bool {
        self.state().calls.is_empty()
    }

    /// Recordings that were used.
    pub fn played(&self) -> usize {
        self.state().played
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A list and a count: sound even if a thread panicked while it held the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recordings::End;

    fn heard(answer: &str, ending: Ending) -> Heard {
        Heard { answer: answer.to_owned(), ending, input_tokens: None, output_tokens: None }
    }

    fn answered(answer: &str) -> Heard {
        heard(answer, Ending::Answered { end: Some(End::Whole), done: true })
    }

    #[test]
    fn the_same_request_gets_its_answers_in_their_order() {
        let refused = heard("", Ending::Retry { reason: "busy".to_owned() });
        let calls = [("a", refused.clone()), ("b", answered("b")), ("a", answered("a"))];
        let tape = Tape::new(calls.map(|(hash, heard)| (hash.to_owned(), heard)).into());
        assert_eq!(tape.play("a"), Some(refused));
        assert_eq!(tape.play("a"), Some(answered("a")), "b was asked of an earlier plan");
        assert_eq!((tape.play("a"), tape.stopped()), (None, Some(Stopped::Over)));
        assert_eq!((tape.played(), tape.stopped()), (2, None));
    }

    #[test]
    fn what_was_never_asked_is_named_and_nothing_is_lost_by_it() {
        let tape = Tape::new(vec![("a".to_owned(), answered("a"))]);
        assert_eq!(tape.play("x"), None);
        assert_eq!(tape.stopped(), Some(Stopped::Unknown("x".to_owned())));
        assert_eq!(tape.play("a"), Some(answered("a")));
    }

    #[test]
    fn a_process_that_died_left_what_was_stored() {
        let tape = Tape::new(vec![("a".to_owned(), heard("Half of", Ending::Open))]);
        assert_eq!((tape.play("a"), tape.stopped()), (None, Some(Stopped::Died("Half of".to_owned()))));
    }
}
