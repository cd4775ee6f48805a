//! What a step changes.

use crate::action::{Action, Process};
use crate::job::Message;
use crate::mutants::Mutant;
use crate::provider::Delivery;
use crate::relay::{self, Relay};
use crate::state::State;
use crate::{Handoff, webhook};

/// Does a step. Nothing: it changes nothing that matters.
pub(crate) fn take(model: &Handoff, last: &State, action: Action) -> Option<State> {
    let mutant = model.mutant;
    let mut state = last.clone();
    match action {
        Action::Handle { order, event } => handle(&mut state, order, event, mutant),
        Action::Repeat { order, event } => {
            state.left.repeats -= 1;
            handle(&mut state, order, event, mutant);
        }
        Action::Defer { order, event } => {
            state.left.failures -= 1;
            webhook::defer(&mut state.orders[order].payment, event);
        }
        Action::Retry { order, event } => {
            let order = &mut state.orders[order];
            webhook::store(&mut order.payment, &order.provider, event, mutant);
        }
        Action::Complete { order, event } => {
            let order = &mut state.orders[order];
            webhook::complete(&mut order.payment, &order.provider, event, mutant);
        }
        Action::BelieveRedis { order, event } => {
            webhook::believe_redis(&mut state.orders[order].payment, event);
        }
        Action::Acknowledge { order, event } => {
            let order = &mut state.orders[order];
            order.payment.handlers[event].answering -= 1;
            order.provider.acknowledge(event);
        }
        Action::LoseAck { order, event } => {
            state.left.losses -= 1;
            state.orders[order].payment.handlers[event].answering -= 1;
        }
        Action::GiveUp { order, event } => {
            state.left.give_ups -= 1;
            state.orders[order].provider.deliveries[event] = Delivery::GivenUp;
        }
        Action::Sweep { order, event } => {
            let order = &mut state.orders[order];
            order.payment.apply(order.provider.notice(event), mutant);
        }
        Action::Reconcile { order, event } => {
            let order = &mut state.orders[order];
            webhook::fetch(&mut order.payment, &mut order.provider, event);
        }
        Action::Claim { relay, order, intent } => {
            relay::claim(&mut state, relay, (order, intent), mutant);
        }
        Action::Arrive { relay } => relay::arrive(&mut state, relay, mutant),
        Action::Finish { relay } => relay::finish(&mut state, relay, mutant),
        Action::LoseAnswer { relay } => {
            state.left.losses -= 1;
            relay::drop_task(&mut state, relay);
        }
        Action::TimeOut { relay } => {
            state.left.losses -= 1;
            relay::leave_stray(&mut state, relay);
            relay::drop_task(&mut state, relay);
        }
        Action::Steal { relay, order, intent } => {
            state.left.lapses -= 1;
            relay::claim(&mut state, relay, (order, intent), mutant);
        }
        Action::Stray { order, at } => {
            let order = &mut state.orders[order];
            let intent = order.strays.remove(at);
            relay::receive(order, intent, mutant);
        }
        Action::TellRefund { order, of } => state.orders[order].payment.learn(of, mutant),
        Action::End { order, outcome } => {
            let order = &mut state.orders[order];
            order.jobs.end(outcome, order.payment.gives_back());
        }
        Action::EndStale { order, outcome } => {
            let order = &mut state.orders[order];
            order.jobs.end_stale(outcome, order.payment.gives_back(), mutant);
        }
        Action::StallAttempt { order } => {
            state.left.stalls -= 1;
            state.orders[order].jobs.stale = true;
        }
        Action::Settle { order } => {
            let order = &mut state.orders[order];
            order.payment.settle(order.jobs.outcome?, mutant);
            order.jobs.message = Message::Answered;
        }
        Action::Settled { order } => state.orders[order].jobs.message = Message::Done,
        Action::LoseSettled { order } => {
            state.left.losses -= 1;
            state.orders[order].jobs.message = Message::Waiting;
        }
        Action::GiveBack { order, amount } => {
            state.left.returns -= 1;
            state.orders[order].payment.give_back(amount, mutant);
        }
        Action::Miss { order } => {
            state.left.looks -= 1;
            state.orders[order].missed = true;
        }
        Action::WishAgain { order } => {
            let order = &mut state.orders[order];
            order.missed = false;
            order.payment.wish_again(mutant);
        }
        Action::Crash(process) => {
            state.left.crashes -= 1;
            if !crash(&mut state, process) {
                return None;
            }
        }
    }
    forget(&mut state, mutant);
    Some(state)
}

/// States that nothing can tell apart any more become one.
fn forget(state: &mut State, mutant: Option<Mutant>) {
    // The relays are alike: which of the two has which task makes no difference.
    state.relays.sort_unstable();
    for order in &mut state.orders {
        let mut strays = std::mem::take(&mut order.strays);
        strays.retain(|stray| !relay::is_moot(order, *stray, mutant));
        order.strays = strays;
        // Only money that goes back before the job asks whether its wish was sent.
        if state.left.returns == 0 {
            order.payment.outbox.forget_tries();
        }
    }
}

fn handle(state: &mut State, order: usize, event: usize, mutant: Option<Mutant>) {
    let order = &mut state.orders[order];
    webhook::handle(&mut order.payment, &mut order.provider, event, mutant);
}

/// The process loses what it has in memory. False: that was nothing.
fn crash(state: &mut State, process: Process) -> bool {
    let (relay, sent) = match process {
        Process::Payment { relay, sent } => (relay, sent),
        Process::Jobs => return state.orders.iter_mut().fold(false, |any, order| order.jobs.crash() | any),
    };
    let mut mattered = state.relays[relay] != Relay::Idle;
    if sent {
        relay::leave_stray(state, relay);
    }
    relay::drop_task(state, relay);
    for handlers in state.orders.iter_mut().flat_map(|order| &mut order.payment.handlers) {
        mattered |= !handlers.none();
        *handlers = webhook::Handlers::default();
    }
    mattered
}
