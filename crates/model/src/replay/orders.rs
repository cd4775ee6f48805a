//! One order of a journal.

use std::collections::{BTreeMap, BTreeSet};

use super::step::{Rule, Task};
use crate::books::Held;
use crate::job::Outcome;
use crate::outbox::RefundOf;
use crate::payment::{Payment, Status};
use crate::provider::{Notice, PRICE};

#[derive(Debug, Default)]
pub(super) struct Order {
    status: Status,
    /// What the provider has taken, by payment.
    charged: BTreeMap<String, i64>,
    /// What the books have of it.
    paid: BTreeMap<String, i64>,
    rows: BTreeMap<Task, Row>,
    job: Job,
    settled: bool,
    /// What went back, by idempotency key.
    refunded: BTreeMap<String, i64>,
}

#[derive(Debug, Default)]
struct Row {
    epoch: u64,
    sent: BTreeSet<u64>,
    done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Job {
    #[default]
    None,
    Runs,
    Ended,
}

impl Order {
    pub(super) fn charge(&mut self, payment: &str, amount: i64) {
        self.charged.insert(payment.to_owned(), amount);
    }

    pub(super) fn advance(&mut self, to: Status) -> Result<(), Rule> {
        if !followers(self.status).contains(&to) {
            return Err(Rule::Move { from: self.status, to });
        }
        self.status = to;
        Ok(())
    }

    pub(super) fn pay(&mut self, payment: &str, amount: i64) -> Result<(), Rule> {
        let charged = self.charged.get(payment).copied().unwrap_or_default();
        if amount != charged {
            return Err(Rule::PaidUncharged { payment: payment.to_owned(), amount, charged });
        }
        match self.paid.insert(payment.to_owned(), amount) {
            Some(_) => Err(Rule::PaidTwice(payment.to_owned())),
            None => Ok(()),
        }
    }

    pub(super) fn enqueue(&mut self, task: &Task) -> Result<(), Rule> {
        let called = match task {
            Task::StartJob => self.status == Status::Paid && !self.paid.is_empty(),
            Task::CancelJob | Task::Refund { .. } => self.status >= Status::Paid,
        };
        if !called {
            return Err(Rule::Uncalled { task: task.clone(), status: self.status });
        }
        if self.rows.insert(task.clone(), Row::default()).is_some() {
            return Err(Rule::EnqueuedTwice(task.clone()));
        }
        let Task::Refund { payment, .. } = task else {
            return Ok(());
        };
        let promised = self.promised(payment);
        let paid = self.paid.get(payment).copied().unwrap_or_default();
        if promised > paid {
            return Err(Rule::OverPromised { payment: payment.clone(), promised, paid });
        }
        Ok(())
    }

    pub(super) fn claim(&mut self, task: &Task, epoch: u64) -> Result<(), Rule> {
        let row = self.open_row(task)?;
        // Not the next one: the janitor raises it too, when it renews a wish.
        if epoch <= row.epoch {
            return Err(Rule::Epoch { task: task.clone(), now: row.epoch, epoch });
        }
        row.epoch = epoch;
        Ok(())
    }

    pub(super) fn send(&mut self, task: &Task, epoch: u64) -> Result<(), Rule> {
        let row = self.rows.get_mut(task).ok_or_else(|| Rule::NoRow(task.clone()))?;
        // An old epoch is no mistake: its holder was paused, and its receiver has a key.
        if epoch == 0 || epoch > row.epoch {
            return Err(Rule::Epoch { task: task.clone(), now: row.epoch, epoch });
        }
        row.sent.insert(epoch);
        Ok(())
    }

    pub(super) fn finish(&mut self, task: &Task, epoch: u64) -> Result<(), Rule> {
        let row = self.open_row(task)?;
        if epoch != row.epoch {
            return Err(Rule::Epoch { task: task.clone(), now: row.epoch, epoch });
        }
        let withdrawn = epoch == 0 && *task == Task::StartJob;
        if !withdrawn && !row.sent.contains(&epoch) {
            return Err(Rule::Unsent(task.clone()));
        }
        row.done = true;
        let started = self.rows.get(&Task::StartJob).is_none_or(|row| row.done);
        if *task == Task::CancelJob && self.job == Job::None && !started {
            return Err(Rule::CancelledEarly);
        }
        Ok(())
    }

    pub(super) fn wish_again(&mut self) -> Result<(), Rule> {
        if self.status != Status::Paid {
            return Err(Rule::WishedUnpaid(self.status));
        }
        let row = self.rows.get_mut(&Task::StartJob).ok_or(Rule::NoRow(Task::StartJob))?;
        row.done = false;
        Ok(())
    }

    pub(super) fn insert_job(&mut self) -> Result<(), Rule> {
        if self.job != Job::None {
            return Err(Rule::TwoJobs);
        }
        if self.rows.get(&Task::StartJob).is_none_or(|row| row.sent.is_empty()) {
            return Err(Rule::JobUnasked);
        }
        if self.paid.is_empty() {
            return Err(Rule::JobUnpaid);
        }
        self.job = Job::Runs;
        Ok(())
    }

    pub(super) fn end_job(&mut self) -> Result<(), Rule> {
        if self.job != Job::Runs {
            return Err(Rule::NoJob);
        }
        self.job = Job::Ended;
        Ok(())
    }

    pub(super) fn settle(&mut self) -> Result<(), Rule> {
        if self.job != Job::Ended {
            return Err(Rule::SettledEarly);
        }
        if std::mem::replace(&mut self.settled, true) {
            return Err(Rule::SettledTwice);
        }
        Ok(())
    }

    pub(super) fn refund(&mut self, key: &str, amount: i64) -> Result<(), Rule> {
        let asked = self.rows.iter().find_map(|(task, row)| match task {
            Task::Refund { key: own, amount, .. } if own == key && !row.sent.is_empty() => Some(*amount),
            _ => None,
        });
        let decided = asked.ok_or_else(|| Rule::RefundUnasked(key.to_owned()))?;
        if amount > decided {
            return Err(Rule::RefundAmount { key: key.to_owned(), amount, decided });
        }
        if self.refunded.insert(key.to_owned(), amount).is_some() {
            return Err(Rule::RefundedTwice(key.to_owned()));
        }
        Ok(())
    }

    /// What is missing when nothing is left to do.
    pub(super) fn end(&self, id: &str) -> Result<(), Rule> {
        let order = || id.to_owned();
        if let Some(payment) = self.charged.keys().find(|payment| !self.paid.contains_key(*payment)) {
            return Err(Rule::NeverEntered { payment: payment.clone() });
        }
        if let Some((task, _)) = self.rows.iter().find(|(_, row)| !row.done) {
            return Err(Rule::NeverDone { order: order(), task: task.clone() });
        }
        let back: i64 = self.refunded.values().sum();
        if back < self.paid.values().sum() && self.job == Job::None {
            return Err(Rule::NeverServed { order: order() });
        }
        if self.job == Job::Runs || self.status == Status::Paid {
            return Err(Rule::NeverSettled { order: order() });
        }
        Ok(())
    }

    fn open_row(&mut self, task: &Task) -> Result<&mut Row, Rule> {
        let row = self.rows.get_mut(task).ok_or_else(|| Rule::NoRow(task.clone()))?;
        if row.done { Err(Rule::DoneBefore(task.clone())) } else { Ok(row) }
    }

    fn promised(&self, payment: &str) -> i64 {
        let of_payment = |task: &Task| match task {
            Task::Refund { payment: its, amount, .. } if its == payment => Some(*amount),
            _ => None,
        };
        self.rows.keys().filter_map(of_payment).sum()
    }
}

/// Every status that some transaction of the model leads to from this one.
fn followers(from: Status) -> BTreeSet<Status> {
    let notices = [Notice::Processing, Notice::Expired, Notice::Paid(0), Notice::Paid(1)];
    let outcomes = [Outcome::Delivered, Outcome::Short, Outcome::Failed, Outcome::Cancelled];
    let mut followers = BTreeSet::new();
    let mut take = |step: &dyn Fn(&mut Payment)| {
        let mut payment = standing(from);
        step(&mut payment);
        if payment.status != from {
            followers.insert(payment.status);
        }
    };
    for notice in notices {
        take(&|payment| payment.apply(notice, None));
    }
    for outcome in outcomes {
        take(&|payment| payment.settle(outcome, None));
    }
    take(&|payment| payment.give_back(payment.returnable(), None));
    take(&|payment| {
        payment.books.begin(RefundOf::Request, 0, PRICE);
        payment.learn(RefundOf::Request, None);
    });
    followers
}

/// An order of the model with this status.
fn standing(status: Status) -> Payment {
    let mut payment = Payment { status, ..Payment::default() };
    if status >= Status::Paid {
        payment.own = Some(0);
        payment.books.register(0, Held::Sales, None);
    }
    payment
}
