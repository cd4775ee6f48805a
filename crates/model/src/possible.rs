//! What can happen next.

use crate::Handoff;
use crate::action::{Action, Process};
use crate::job::{Message, Outcome};
use crate::mutants::Mutant;
use crate::outbox::{Intent, RefundOf};
use crate::payment::{Decision, Status, Stored};
use crate::provider::{Delivery, EVENTS};
use crate::relay::{self, Call, Relay};
use crate::state::{Order, REPLICAS, State};

/// Everything that can happen in a state, as far as it makes a difference.
pub(crate) fn all(model: &Handoff, state: &State, actions: &mut Vec<Action>) {
    if let Some(answer) = undisturbed_answer(state) {
        actions.push(answer);
        return;
    }
    for (index, order) in state.orders.iter().enumerate() {
        for event in 0..EVENTS {
            webhook_steps(model, (index, order), event, actions);
        }
        order_steps(model, (index, order), actions);
    }
    for relay in 0..REPLICAS {
        relay_steps(model, state, relay, actions);
    }
    faults(state, actions);
}

/// An answer on its way that nothing can stop any more. It changes nothing that another step looks at, so
/// that it may arrive at once.
fn undisturbed_answer(state: &State) -> Option<Action> {
    if state.left.crashes > 0 || state.left.losses > 0 {
        return None;
    }
    state.orders.iter().enumerate().find_map(|(order, at)| {
        let event = (0..EVENTS).find(|event| at.payment.handlers[*event].answering > 0);
        let acknowledge = event.map(|event| Action::Acknowledge { order, event });
        acknowledge.or((at.jobs.message == Message::Answered).then_some(Action::Settled { order }))
    })
}

fn webhook_steps(model: &Handoff, (order, at): (usize, &Order), event: usize, actions: &mut Vec<Action>) {
    let (provider, payment) = (&at.provider, &at.payment);
    let handlers = payment.handlers[event];
    match provider.deliveries[event] {
        // A lost request and a 5xx lead back to this state: the provider tries again.
        Delivery::Due if handlers.none() => {
            actions.push(Action::Handle { order, event });
            if model.mutant == Some(Mutant::RedisIsTruth) {
                actions.push(Action::BelieveRedis { order, event });
            }
        }
        Delivery::GivenUp if handlers.none() && payment.inbox[event] == Stored::No => {
            actions.push(Action::Reconcile { order, event });
        }
        _ => {}
    }
    if payment.inbox[event] == Stored::Received {
        actions.push(Action::Retry { order, event });
    }
    if handlers.half > 0 {
        actions.push(Action::Complete { order, event });
    }
    if handlers.answering > 0 {
        actions.push(Action::Acknowledge { order, event });
    }
    let unsettled = matches!(payment.status, Status::Open | Status::Processing);
    let news = payment.decide(provider.notice(event), model.mutant) != Decision::Nothing;
    if model.sweeps && unsettled && news {
        actions.push(Action::Sweep { order, event });
    }
}

fn order_steps(model: &Handoff, (order, at): (usize, &Order), actions: &mut Vec<Action>) {
    let (payment, jobs) = (&at.payment, &at.jobs);
    for stray in 0..at.strays.len() {
        actions.push(Action::Stray { order, at: stray });
    }
    for of in RefundOf::ALL {
        let unknown = payment.books.refunds[of.index()].is_some_and(|refund| !refund.succeeded);
        if unknown && at.provider.answered[of.index()] {
            actions.push(Action::TellRefund { order, of });
        }
    }
    if at.missed {
        actions.push(Action::WishAgain { order });
    }
    if jobs.attempt {
        actions.extend(jobs.outcomes().iter().map(|outcome| Action::End { order, outcome: *outcome }));
    }
    if jobs.stale {
        // The code's epoch makes no difference between outcomes.
        let outcomes = match model.mutant {
            Some(Mutant::EndingNotFenced) => jobs.outcomes(),
            _ => &[Outcome::Failed],
        };
        actions.extend(outcomes.iter().map(|outcome| Action::EndStale { order, outcome: *outcome }));
    }
    match jobs.message {
        // Refused until the order is paid, and then sent again.
        Message::Waiting if payment.takes_outcomes() => actions.push(Action::Settle { order }),
        Message::Answered => actions.push(Action::Settled { order }),
        Message::Waiting | Message::None | Message::Done => {}
    }
}

fn relay_steps(model: &Handoff, state: &State, relay: usize, actions: &mut Vec<Action>) {
    match state.relays[relay] {
        // One idle relay is like the other.
        Relay::Idle if relay > 0 && state.relays[relay - 1] == Relay::Idle => {}
        Relay::Idle => {
            for (order, at) in state.orders.iter().enumerate() {
                let due = |intent: &Intent| at.payment.outbox.row(*intent).is_due();
                let tasks = Intent::ALL.into_iter().filter(due);
                actions.extend(tasks.map(|intent| Action::Claim { relay, order, intent }));
            }
        }
        Relay::Busy { current, call: Call::Sent { .. }, .. } => {
            if !current || !relay::is_too_early(state, relay, model.mutant) {
                actions.push(Action::Arrive { relay });
            }
        }
        Relay::Busy { call: Call::Answered { .. }, .. } => actions.push(Action::Finish { relay }),
    }
}

fn faults(state: &State, actions: &mut Vec<Action>) {
    let left = state.left;
    for (order, at) in state.orders.iter().enumerate() {
        for event in 0..EVENTS {
            let handlers = at.payment.handlers[event];
            if left.repeats > 0 {
                actions.push(Action::Repeat { order, event });
            }
            let due = at.provider.deliveries[event] == Delivery::Due;
            if left.failures > 0 && due && handlers.none() && at.payment.inbox[event] == Stored::No {
                actions.push(Action::Defer { order, event });
            }
            if left.losses > 0 && handlers.answering > 0 {
                actions.push(Action::LoseAck { order, event });
            }
            if left.give_ups > 0 && due {
                actions.push(Action::GiveUp { order, event });
            }
        }
        if left.returns > 0 {
            let amounts = 1..=at.payment.returnable();
            actions.extend(amounts.map(|amount| Action::GiveBack { order, amount }));
        }
        if left.looks > 0 && at.payment.status == Status::Paid && at.jobs.rows == 0 && !at.missed {
            actions.push(Action::Miss { order });
        }
        if left.stalls > 0 && at.jobs.attempt && !at.jobs.stale {
            actions.push(Action::StallAttempt { order });
        }
        if left.losses > 0 && at.jobs.message == Message::Answered {
            actions.push(Action::LoseSettled { order });
        }
    }
    for (relay, at) in state.relays.iter().enumerate() {
        let Relay::Busy { order, intent, current, call } = *at else {
            continue;
        };
        if left.losses > 0 {
            actions.push(match call {
                Call::Sent { .. } => Action::TimeOut { relay },
                Call::Answered { .. } => Action::LoseAnswer { relay },
            });
        }
        let idle = state.relays.iter().position(|other| *other == Relay::Idle);
        if let Some(relay) = idle
            && left.lapses > 0
            && current
        {
            actions.push(Action::Steal { relay, order, intent });
        }
    }
    if left.crashes > 0 {
        for relay in 0..REPLICAS {
            let under_way = matches!(state.relays[relay], Relay::Busy { call: Call::Sent { .. }, .. });
            actions.push(Action::Crash(Process::Payment { relay, sent: false }));
            if under_way {
                actions.push(Action::Crash(Process::Payment { relay, sent: true }));
            }
        }
        actions.push(Action::Crash(Process::Jobs));
    }
}
