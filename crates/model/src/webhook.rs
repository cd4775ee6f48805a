//! Webhooks that are being handled: `services/payment/src/inbox/webhook.rs`.
//!
//! Redis has no state here. It is asked first whether an event was seen, and may answer anything: what it
//! never heard of, what it forgot, what it made up. In the code a yes only leads to a look at the row, and so
//! both answers lead to the same end. The mutant [`Mutant::RedisIsTruth`] believes the yes.

use crate::mutants::Mutant;
use crate::payment::{Payment, Stored};
use crate::provider::{Delivery, Notice, Provider};

/// Handlers of one event, by how far they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Handlers {
    /// Between the two steps of a mutant. The code has one step.
    pub half: u8,
    /// Committed; the 2xx is on its way.
    pub answering: u8,
}

impl Handlers {
    pub fn none(self) -> bool {
        self == Self::default()
    }
}

/// The event arrives and is handled up to its commit.
pub fn handle(payment: &mut Payment, provider: &mut Provider, event: usize, mutant: Option<Mutant>) {
    match mutant {
        Some(Mutant::AckBeforeCommit) => {
            provider.acknowledge(event);
            payment.handlers[event].half += 1;
        }
        Some(Mutant::MarkerFirst) if payment.inbox[event] == Stored::No => {
            payment.inbox[event] = Stored::Done;
            payment.handlers[event].half += 1;
        }
        _ => {
            let new = store(payment, provider, event, mutant);
            let handlers = &mut payment.handlers[event];
            match mutant {
                Some(Mutant::OutboxAfterCommit) if new => handlers.half += 1,
                _ => handlers.answering += 1,
            }
        }
    }
}

/// The reconcile asks the provider for an event that never arrived, and stores it like one that did.
pub fn fetch(payment: &mut Payment, provider: &mut Provider, event: usize) {
    provider.deliveries[event] = Delivery::Mended;
    store(payment, provider, event, None);
}

/// Redis says that the event was seen, and is believed.
pub fn believe_redis(payment: &mut Payment, event: usize) {
    payment.handlers[event].answering += 1;
}

/// The second step of a mutant's handler.
pub fn complete(payment: &mut Payment, provider: &Provider, event: usize, mutant: Option<Mutant>) {
    payment.handlers[event].half -= 1;
    match mutant {
        Some(Mutant::AckBeforeCommit) => {
            store(payment, provider, event, mutant);
            return;
        }
        Some(Mutant::MarkerFirst) => apply(payment, provider, event, mutant),
        _ => payment.enqueue_missing(),
    }
    payment.handlers[event].answering += 1;
}

/// The event arrives, but what it calls for fails: only the row is stored, and acknowledged.
pub fn defer(payment: &mut Payment, event: usize) {
    payment.inbox[event] = Stored::Received;
    payment.handlers[event].answering += 1;
}

/// The one transaction: the row and everything that the event calls for. `inbox/retry.rs` comes here too,
/// with the row that was deferred. False: it was done before.
pub fn store(payment: &mut Payment, provider: &Provider, event: usize, mutant: Option<Mutant>) -> bool {
    if std::mem::replace(&mut payment.inbox[event], Stored::Done) == Stored::Done {
        return false;
    }
    let rows = payment.outbox.clone();
    apply(payment, provider, event, mutant);
    if mutant == Some(Mutant::OutboxAfterCommit) {
        payment.outbox = rows;
    }
    true
}

fn apply(payment: &mut Payment, provider: &Provider, event: usize, mutant: Option<Mutant>) {
    let notice = match provider.notice(event) {
        Notice::Paid(_) if mutant == Some(Mutant::NoBusinessKey) => Notice::Paid(event),
        notice => notice,
    };
    payment.apply(notice, mutant);
}
