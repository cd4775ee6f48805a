//! The journal of a run of the model, as a real run would write it.

use std::collections::BTreeMap;

use quire_model::action::Action;
use quire_model::job::Message;
use quire_model::outbox::{Intent, RefundOf, Row};
use quire_model::payment::{Status, Stored};
use quire_model::provider::{Delivery, EVENTS, PAYMENTS, PRICE};
use quire_model::relay::Relay;
use quire_model::replay::{Step, Task};
use quire_model::state::{Order, State};

/// Writes steps down.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) steps: Vec<Step>,
    /// The model does without the numbers.
    epochs: BTreeMap<(usize, Intent), u64>,
}

impl Journal {
    /// What happened before the first step.
    pub(crate) fn begin(state: &State) -> Self {
        let mut journal = Self::default();
        for (number, order) in state.orders.iter().enumerate() {
            for payment in (0..PAYMENTS).filter(|payment| order.provider.story.paid(*payment) > 0) {
                let (order, amount) = (number.to_string(), PRICE.into());
                journal.steps.push(Step::Charged { order, payment: payment_id(number, payment), amount });
            }
        }
        journal
    }

    /// What a step has changed.
    pub(crate) fn note(&mut self, before: &State, action: Action, after: &State) {
        self.call(before, action);
        for (number, (old, new)) in before.orders.iter().zip(&after.orders).enumerate() {
            self.order(number, old, new);
        }
        match action {
            Action::Claim { order, intent, .. } | Action::Steal { order, intent, .. } => {
                let epoch = self.epochs.entry((order, intent)).or_default();
                *epoch += 1;
                let (epoch, task) = (*epoch, task(&after.orders[order], order, intent));
                self.steps.push(Step::Claimed { order: order.to_string(), task, epoch });
            }
            Action::End { order, .. } => self.steps.push(Step::JobEnded { order: order.to_string() }),
            Action::EndStale { order, .. } if is_news(before, after, order) => {
                self.steps.push(Step::JobEnded { order: order.to_string() });
            }
            Action::Settle { order } if before.orders[order].payment.status == Status::Paid => {
                self.steps.push(Step::Settled { order: order.to_string() });
            }
            Action::WishAgain { order } if before.orders[order].payment != after.orders[order].payment => {
                self.steps.push(Step::WishedAgain { order: order.to_string() });
            }
            _ => {}
        }
        self.done(before, action, after);
    }

    /// A call arrives: whoever made it had claimed the row, in this epoch or in an earlier one.
    fn call(&mut self, before: &State, action: Action) {
        let (order, intent, current) = match action {
            Action::Arrive { relay } => match before.relays[relay] {
                Relay::Busy { order, intent, current, .. } => (order, intent, current),
                Relay::Idle => return,
            },
            Action::Stray { order, at } => (order, before.orders[order].strays[at], true),
            _ => return,
        };
        let now = self.epochs.get(&(order, intent)).copied().unwrap_or_default();
        let epoch = if current { now } else { now - 1 };
        let task = task(&before.orders[order], order, intent);
        self.steps.push(Step::Sent { order: order.to_string(), task, epoch });
    }

    fn order(&mut self, number: usize, old: &Order, new: &Order) {
        let order = || number.to_string();
        let event_id = |event: usize| format!("evt_{number}_{event}");
        let inbox = |event: usize| (old.payment.inbox[event], new.payment.inbox[event]);
        for event in 0..EVENTS {
            if matches!(inbox(event), (Stored::No, Stored::Received | Stored::Done)) {
                self.steps.push(Step::Stored { event: event_id(event) });
            }
        }
        if old.payment.status != new.payment.status {
            self.steps.push(Step::Moved { order: order(), to: new.payment.status });
        }
        for payment in 0..PAYMENTS {
            if old.payment.books.held[payment] != new.payment.books.held[payment] {
                let (payment, amount) = (payment_id(number, payment), PRICE.into());
                self.steps.push(Step::Paid { order: order(), payment, amount });
            }
        }
        for intent in Intent::ALL {
            if old.payment.outbox.row(intent) == Row::Absent && new.payment.outbox.row(intent) != Row::Absent
            {
                self.steps.push(Step::Enqueued { order: order(), task: task(new, number, intent) });
            }
        }
        for event in 0..EVENTS {
            if matches!(inbox(event), (Stored::No | Stored::Received, Stored::Done)) {
                self.steps.push(Step::Applied { event: event_id(event) });
            }
            let answers = new.payment.handlers[event].answering > old.payment.handlers[event].answering;
            let deliveries = (old.provider.deliveries[event], new.provider.deliveries[event]);
            if answers || deliveries == (Delivery::Due, Delivery::Acknowledged) {
                self.steps.push(Step::Acknowledged { event: event_id(event) });
            }
        }
        self.steps.extend((old.jobs.rows..new.jobs.rows).map(|_| Step::JobInserted { order: order() }));
    }

    fn done(&mut self, before: &State, action: Action, after: &State) {
        for (number, (old, new)) in before.orders.iter().zip(&after.orders).enumerate() {
            let order = number.to_string();
            for intent in Intent::ALL {
                let (was, is) = (old.payment.outbox.row(intent), new.payment.outbox.row(intent));
                if was != Row::Done && is == Row::Done {
                    // Whoever withdraws has no epoch.
                    let withdrawn = matches!(action, Action::GiveBack { .. });
                    let epoch = self.epochs.get(&(number, intent)).filter(|_| !withdrawn).copied();
                    let (epoch, task) = (epoch.unwrap_or_default(), task(new, number, intent));
                    self.steps.push(Step::Done { order: order.clone(), task, epoch });
                }
            }
            let back: i64 = new
                .provider
                .refunded
                .iter()
                .zip(old.provider.refunded)
                .map(|(is, was)| i64::from(is - was))
                .sum();
            let of = match action {
                Action::Arrive { relay } => match before.relays[relay] {
                    Relay::Busy { intent: Intent::Refund(of), .. } => Some(of),
                    _ => None,
                },
                Action::Stray { order, at } => match before.orders[order].strays[at] {
                    Intent::Refund(of) => Some(of),
                    _ => None,
                },
                _ => None,
            };
            if let Some(of) = of.filter(|_| back > 0) {
                self.steps.push(Step::Refunded { order, key: key(number, of), amount: back });
            }
        }
    }
}

/// Whether an attempt without the lease has written an end.
fn is_news(before: &State, after: &State, order: usize) -> bool {
    let (old, new) = (&before.orders[order].jobs, &after.orders[order].jobs);
    (old.outcome, old.message == Message::Waiting) != (new.outcome, new.message == Message::Waiting)
}

fn payment_id(order: usize, payment: usize) -> String {
    format!("pi_{order}_{payment}")
}

fn key(order: usize, of: RefundOf) -> String {
    format!("refund_{order}_{of:?}")
}

fn task(order: &Order, number: usize, intent: Intent) -> Task {
    match intent {
        Intent::StartJob => Task::StartJob,
        Intent::CancelJob => Task::CancelJob,
        Intent::Refund(of) => {
            let refund = order.payment.books.refunds[of.index()].expect("a row has a refund");
            let payment = payment_id(number, refund.payment);
            Task::Refund { key: key(number, of), payment, amount: refund.amount.into() }
        }
    }
}
