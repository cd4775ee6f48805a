//! What can happen to jobs, and histories of it.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};

/// Orders of a history: the first three of one user.
pub const ORDERS: usize = 4;
/// Services on one database.
pub const SERVICES: usize = 2;
const LENGTH: usize = 40;

/// What the model does with its next call, instead of answering when it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Try again.
    Overloaded,
    /// Half an answer, then the connection is gone.
    BreaksOff,
    /// For good.
    Refuses,
}

/// Orders and services are meant by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// For the first time, or again.
    Start(usize),
    Pause(usize),
    PauseByOperator(usize),
    Resume(usize),
    ResumeByOperator(usize),
    Cancel(usize),
    /// Payment gave all the money back.
    Refund(usize),
    Priority(usize, i32),
    /// An operator goes on with a job that failed.
    Retry(usize),
    /// Its job comes to its end: not drawn, since it may never do so by itself.
    End(usize),
    /// The model comes to the end of one of the answers that it is giving.
    Answer(usize),
    Mood(Mood),
    /// Document takes nothing for so many calls.
    DocumentAway(usize),
    PaymentAway,
    Up(usize),
    /// As by a power cut.
    Kill(usize),
    /// As by an operator.
    Drain(usize),
    /// Every lease runs out, and every wait is over.
    TimePasses,
}

pub fn history() -> impl Strategy<Value = Vec<Step>> {
    let order = || 0..ORDERS;
    let mood = prop_oneof![
        4 => Just(Mood::Overloaded),
        4 => Just(Mood::BreaksOff),
        1 => Just(Mood::Refuses),
    ];
    let step = prop_oneof![
        8 => order().prop_map(Step::Start),
        3 => order().prop_map(Step::Pause),
        1 => order().prop_map(Step::PauseByOperator),
        4 => order().prop_map(Step::Resume),
        1 => order().prop_map(Step::ResumeByOperator),
        1 => order().prop_map(Step::Cancel),
        1 => order().prop_map(Step::Refund),
        1 => (order(), 0..10).prop_map(|(order, priority)| Step::Priority(order, priority)),
        2 => order().prop_map(Step::Retry),
        20 => (0..8_usize).prop_map(Step::Answer),
        3 => mood.prop_map(Step::Mood),
        2 => (1..4_usize).prop_map(Step::DocumentAway),
        1 => Just(Step::PaymentAway),
        6 => (0..SERVICES).prop_map(Step::Up),
        2 => (0..SERVICES).prop_map(Step::Kill),
        2 => (0..SERVICES).prop_map(Step::Drain),
        4 => Just(Step::TimePasses),
    ];
    vec(step, LENGTH)
}
