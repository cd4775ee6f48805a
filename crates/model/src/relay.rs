//! The relays of payment, one in each of its processes: `services/payment/src/relay.rs`.
//!
//! A relay claims a row, sends, and stores the outcome together with the end of the row, if its epoch is
//! still the row's. Of a real relay's batch of tasks it has one: two relays make two at once.

use crate::mutants::Mutant;
use crate::outbox::{Intent, Row};
use crate::state::{Order, State};

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// Under way. `started`, of CancelJob only: StartJob was done when this was looked up, before the call.
    Sent { started: bool },
    /// Answered. `made`: this call made the job or the refund, and no earlier one.
    Answered { made: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Relay {
    Busy {
        order: usize,
        intent: Intent,
        /// Its epoch is the row's.
        current: bool,
        call: Call,
    },
    Idle,
}

/// `outbox::claim`: takes a row under a new epoch.
pub fn claim(state: &mut State, relay: usize, (order, intent): (usize, Intent), mutant: Option<Mutant>) {
    for other in &mut state.relays {
        if let Relay::Busy { order: its, intent: own, current, .. } = other
            && (*its, *own) == (order, intent)
        {
            *current = false;
        }
    }
    let outbox = &mut state.orders[order].payment.outbox;
    let started = intent == Intent::CancelJob && outbox.row(Intent::StartJob) == Row::Done;
    let row = match mutant {
        Some(Mutant::DoneBeforeSending) => Row::Done,
        _ => Row::Tried { leased: true },
    };
    outbox.set(intent, row);
    state.relays[relay] = Relay::Busy { order, intent, current: true, call: Call::Sent { started } };
}

/// The call arrives where it goes, and is answered.
pub fn arrive(state: &mut State, relay: usize, mutant: Option<Mutant>) {
    let Relay::Busy { order, intent, current, call: Call::Sent { .. } } = state.relays[relay] else {
        return;
    };
    // A stale one that is told too early gives up; see `is_too_early` for the other.
    if is_too_early(state, relay, mutant) {
        state.relays[relay] = Relay::Idle;
        return;
    }
    let made = receive(&mut state.orders[order], intent, mutant);
    state.relays[relay] = Relay::Busy { order, intent, current, call: Call::Answered { made } };
}

/// Whether the call would be answered by NOT_FOUND while the job may still be on its way. The code tries
/// again later, which leads back to the same state; the model waits instead.
pub fn is_too_early(state: &State, relay: usize, mutant: Option<Mutant>) -> bool {
    match state.relays[relay] {
        Relay::Busy { order, intent: Intent::CancelJob, call: Call::Sent { started }, .. } => {
            let unknown = state.orders[order].jobs.rows == 0;
            unknown && !started && mutant != Some(Mutant::NothingToCancel)
        }
        _ => false,
    }
}

/// What a receiver does with a call; whether the caller still waits makes no difference to it.
pub fn receive(order: &mut Order, intent: Intent, mutant: Option<Mutant>) -> bool {
    match intent {
        Intent::StartJob => order.jobs.start(mutant),
        Intent::CancelJob => order.jobs.cancel(),
        Intent::Refund(of) => match order.payment.books.refunds[of.index()] {
            Some(refund) => order.provider.refund(of, (refund.payment, refund.amount), mutant),
            None => false,
        },
    }
}

/// Whether a call would change nothing, now or later: what it asks for was done before.
pub fn is_moot(order: &Order, intent: Intent, mutant: Option<Mutant>) -> bool {
    match intent {
        Intent::StartJob => order.jobs.rows > 0 && mutant != Some(Mutant::NoReceiverKey),
        Intent::CancelJob => {
            let jobs = &order.jobs;
            jobs.rows > 0 && !jobs.owed && (jobs.cancel || !jobs.attempt)
        }
        Intent::Refund(of) => order.provider.answered[of.index()] && mutant != Some(Mutant::NoRefundKey),
    }
}

/// `Relay::record`: stores the effect and the end of the row, if the epoch still holds.
pub fn finish(state: &mut State, relay: usize, mutant: Option<Mutant>) {
    let Relay::Busy { order, intent, current, .. } = state.relays[relay] else {
        return;
    };
    state.relays[relay] = Relay::Idle;
    if !current && mutant != Some(Mutant::FinishNotFenced) {
        return;
    }
    let payment = &mut state.orders[order].payment;
    if let Intent::Refund(of) = intent {
        payment.learn(of, mutant);
    }
    payment.outbox.set(intent, Row::Done);
}

/// Leaves the relay's call on the network: nobody waits for its answer any more.
pub fn leave_stray(state: &mut State, relay: usize) {
    if let Relay::Busy { order, intent, .. } = state.relays[relay] {
        state.orders[order].stray(intent);
    }
}

/// The relay is free again without an outcome: `outbox::postpone`, or its process is gone and the lease runs
/// out.
pub fn drop_task(state: &mut State, relay: usize) {
    if let Relay::Busy { order, intent, current: true, .. } = state.relays[relay] {
        state.orders[order].payment.outbox.release(intent);
    }
    state.relays[relay] = Relay::Idle;
}
