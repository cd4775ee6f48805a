//! Whether a run of the real services did only what the model does.
//!
//! What the model leaves out a journal must leave out too: orders in quarantine, disputes, refunds made by
//! hand at the provider. A test writes down each durable step of a run, in the order in which they became
//! durable, and [`replay`] walks through them. Which status may follow which is asked of the model's own
//! transactions.

mod orders;
mod step;

pub use step::{Rule, Step, Task, Violation};

use std::collections::{BTreeMap, BTreeSet};

use orders::Order;

/// Walks through a journal. It may end anywhere, such as at a crash.
///
/// # Errors
/// The first step that the model forbids.
pub fn replay(journal: &[Step]) -> Result<(), Violation> {
    walk(journal).map(|_| ())
}

/// Walks through the journal of a run that had nothing left to do at its end.
///
/// # Errors
/// The first step that the model forbids; or else, at the length of the journal, what was never done.
pub fn replay_to_the_end(journal: &[Step]) -> Result<(), Violation> {
    let replay = walk(journal)?;
    let end = |rule| Violation { at: journal.len(), rule };
    if let Some(event) = replay.stored.difference(&replay.applied).next() {
        return Err(end(Rule::NeverApplied { event: event.clone() }));
    }
    replay.orders.iter().try_for_each(|(id, order)| order.end(id)).map_err(end)
}

/// What is known after some steps.
#[derive(Debug, Default)]
struct Replay {
    stored: BTreeSet<String>,
    applied: BTreeSet<String>,
    orders: BTreeMap<String, Order>,
}

fn walk(journal: &[Step]) -> Result<Replay, Violation> {
    let mut replay = Replay::default();
    for (at, step) in journal.iter().enumerate() {
        replay.take(step).map_err(|rule| Violation { at, rule })?;
    }
    Ok(replay)
}

impl Replay {
    fn take(&mut self, step: &Step) -> Result<(), Rule> {
        match step {
            Step::Stored { event } => first(&mut self.stored, event, Rule::StoredTwice),
            Step::Applied { event } if !self.stored.contains(event) => {
                Err(Rule::AppliedUnstored { event: event.clone() })
            }
            Step::Applied { event } => first(&mut self.applied, event, Rule::AppliedTwice),
            Step::Acknowledged { event } if !self.stored.contains(event) => {
                Err(Rule::AcknowledgedUnstored { event: event.clone() })
            }
            Step::Acknowledged { .. } => Ok(()),
            Step::Charged { order, payment, amount } => {
                self.order(order).charge(payment, *amount);
                Ok(())
            }
            Step::WishedAgain { order } => self.order(order).wish_again(),
            Step::Moved { order, to } => self.order(order).advance(*to),
            Step::Paid { order, payment, amount } => self.order(order).pay(payment, *amount),
            Step::Enqueued { order, task } => self.order(order).enqueue(task),
            Step::Claimed { order, task, epoch } => self.order(order).claim(task, *epoch),
            Step::Sent { order, task, epoch } => self.order(order).send(task, *epoch),
            Step::Done { order, task, epoch } => self.order(order).finish(task, *epoch),
            Step::JobInserted { order } => self.order(order).insert_job(),
            Step::JobEnded { order } => self.order(order).end_job(),
            Step::Settled { order } => self.order(order).settle(),
            Step::Refunded { order, key, amount } => self.order(order).refund(key, *amount),
        }
    }

    fn order(&mut self, id: &str) -> &mut Order {
        self.orders.entry(id.to_owned()).or_default()
    }
}

fn first(set: &mut BTreeSet<String>, event: &str, twice: fn(String) -> Rule) -> Result<(), Rule> {
    if set.insert(event.to_owned()) { Ok(()) } else { Err(twice(event.to_owned())) }
}
