//! What must hold. The numbers I1 to I7 are those of the acceptance scenarios; the others are about money and
//! work.
//!
//! "In the end" is checked without `eventually`, which the checker decides wrongly where paths join. Instead:
//! where nothing is left to do but faults, it must hold. Since no run goes on for ever, every run comes to
//! such a state; a test checks that too.

use stateright::Property;

use crate::books::Held;
use crate::job::{Message, Outcome};
use crate::mutants::Mutant;
use crate::outbox::{Intent, RefundOf};
use crate::payment::{Status, Stored};
use crate::provider::{Delivery, EVENTS, PAYMENTS, PRICE, Story};
use crate::relay::{self, Call, Relay};
use crate::state::{Faults, Order, State};
use crate::{Handoff, webhook};

pub const ONE_JOB: &str = "I1 an order has at most one job";
pub const STORED: &str = "I2 what is acknowledged is stored";
pub const SERVED: &str = "I3 in the end what was paid has a job or went back";
pub const PAID_FIRST: &str = "I4 no job without a paid entry in the books";
pub const BALANCED: &str = "I5 the ledger sums to zero";
pub const AUDITED: &str = "I6 each change of the status has its audit row";
pub const FORWARD: &str = "I7 the status never moves backwards";
pub const NOT_OVERPAID: &str = "M1 no more goes back than was paid";
pub const REFUNDED_ONCE: &str = "M2 what was decided goes back once";
pub const BOOKED_ONCE: &str = "M3 nothing is booked that did not happen";
pub const PRICE_KEPT: &str = "M4 a delivered document keeps its price";
pub const CLOSED: &str = "M5 in the end the books agree with the provider";
pub const NO_FREE_WORK: &str = "W1 in the end nobody works for money that went back";

pub const REPEATABLE: &str = "R1 what arrives again changes nothing";

pub const CRASHED: &str = "a process dies, and the document is delivered";
pub const DUPLICATE: &str = "a repeated event is answered";
pub const REPEATED: &str = "a call is repeated after its answer was lost or late";
pub const FENCED: &str = "an outcome after the lease is fenced";
pub const SHUT_OUT: &str = "an attempt is shut out after another has ended the job";
pub const MENDED: &str = "a lost webhook is mended, and there is a job";
pub const RETRIED: &str = "an event that could not be applied waits, and its order has a job";
pub const MISSED: &str = "a job that was missed arrives before the janitor acts";
pub const FAILED: &str = "the money of a failed job is back";
pub const LATE: &str = "a late payment is back";
pub const EXTRA: &str = "an extra payment is back, and the document is delivered";
pub const CANCELLED: &str = "a job ends because its money went back";

/// Holds for each order in each state.
macro_rules! always {
    ($name:expr, $holds:expr) => {
        Property::always($name, |_: &Handoff, state: &State| state.orders.iter().all($holds))
    };
}

/// Holds for each order once nothing is left to do.
macro_rules! in_the_end {
    ($name:expr, $holds:expr) => {
        Property::always($name, |model: &Handoff, state: &State| {
            state.orders.iter().all($holds) || !model.is_quiet(state)
        })
    };
}

/// Is found for some order in some state.
macro_rules! sometimes {
    ($name:expr, $found:expr) => {
        Property::sometimes($name, |_: &Handoff, state: &State| state.orders.iter().any($found))
    };
}

/// What no run may break.
pub(crate) fn invariants() -> Vec<Property<Handoff>> {
    vec![
        always!(ONE_JOB, |order| order.jobs.rows <= 1),
        always!(STORED, acknowledged_is_stored),
        in_the_end!(SERVED, is_served),
        always!(PAID_FIRST, |order| order.jobs.rows == 0 || is_paid(order)),
        always!(BALANCED, |order| order.payment.books.ledger.sum() == 0),
        always!(AUDITED, |order| order.payment.unaudited == 0),
        always!(FORWARD, |order| !order.payment.fell),
        always!(NOT_OVERPAID, |order| goes_back(order, |payment| order.provider.story.paid(payment))),
        always!(REFUNDED_ONCE, |order| goes_back(order, |payment| order.payment.books.promised(payment))),
        always!(BOOKED_ONCE, is_booked_once),
        always!(PRICE_KEPT, keeps_price),
        in_the_end!(CLOSED, is_closed),
        in_the_end!(NO_FREE_WORK, |order| !order.jobs.owed),
        Property::always(REPEATABLE, |model: &Handoff, state: &State| {
            state.orders.iter().all(|order| is_repeatable(order, model.mutant))
        }),
    ]
}

/// What some run must show, or the invariants hold for want of anything that could break them.
pub(crate) fn sights(model: &Handoff) -> Vec<Property<Handoff>> {
    let faults = model.faults;
    let told = |story| model.stories.contains(&story);
    let sights = [
        (
            faults.crashes > 0,
            Property::sometimes(CRASHED, |model: &Handoff, state: &State| {
                let delivered = |order: &Order| order.payment.status == Status::Delivered;
                state.left.crashes < model.faults.crashes && state.orders.iter().any(delivered)
            }),
        ),
        (
            faults.repeats > 0 && faults.losses > 0,
            sometimes!(DUPLICATE, |order| {
                order.payment.handlers.iter().any(|handlers| handlers.answering > 1)
            }),
        ),
        (
            faults.losses > 0,
            Property::sometimes(REPEATED, |model: &Handoff, state: &State| {
                // Nothing else went wrong that could be the reason.
                let only_losses = Faults { losses: state.left.losses, ..model.faults };
                state.left == only_losses && state.relays.iter().any(is_repeated)
            }),
        ),
        (
            faults.lapses > 0,
            Property::sometimes(FENCED, |_, state: &State| {
                // All that it can do now is to roll back.
                let late = |relay: &Relay| {
                    matches!(relay, Relay::Busy { current: false, call: Call::Answered { .. }, .. })
                };
                state.relays.iter().any(late)
            }),
        ),
        (faults.stalls > 0, sometimes!(SHUT_OUT, |order| order.jobs.stale && order.jobs.outcome.is_some())),
        (
            faults.give_ups > 0,
            sometimes!(MENDED, |order| {
                order.jobs.rows == 1 && order.provider.deliveries.contains(&Delivery::Mended)
            }),
        ),
        (
            true,
            sometimes!(FAILED, |order| {
                order.jobs.outcome == Some(Outcome::Failed) && order.payment.status == Status::Refunded
            }),
        ),
        (
            told(Story::PaidLate),
            sometimes!(LATE, |order| { order.jobs.rows == 0 && order.payment.status == Status::Refunded }),
        ),
        (
            told(Story::PaidTwice),
            sometimes!(EXTRA, |order| {
                let extra = order.payment.books.refunds[RefundOf::Extra.index()];
                order.payment.status == Status::Delivered && extra.is_some_and(|refund| refund.succeeded)
            }),
        ),
        (
            faults.failures > 0,
            sometimes!(RETRIED, |order| {
                order.jobs.rows == 1 && order.payment.inbox == [Stored::Received, Stored::Done]
            }),
        ),
        (faults.looks > 0, sometimes!(MISSED, |order| order.missed && order.jobs.rows == 1)),
        (
            faults.returns > 0,
            sometimes!(CANCELLED, |order| {
                order.jobs.outcome == Some(Outcome::Cancelled) && order.payment.status == Status::Refunded
            }),
        ),
    ];
    sights.into_iter().filter(|(possible, _)| *possible).map(|(_, sight)| sight).collect()
}

fn acknowledged_is_stored(order: &Order) -> bool {
    (0..EVENTS).all(|event| {
        let answered = order.payment.handlers[event].answering > 0;
        let acknowledged = order.provider.deliveries[event] == Delivery::Acknowledged;
        order.payment.inbox[event] != Stored::No || !(answered || acknowledged)
    })
}

/// Each payment has a job that ended well, or all of it went back.
fn is_served(order: &Order) -> bool {
    (0..PAYMENTS).all(|payment| {
        let paid = order.provider.story.paid(payment);
        let worked_for = order.payment.own == Some(payment) && order.jobs.delivered;
        worked_for || order.provider.refunded[payment] >= paid
    })
}

fn is_paid(order: &Order) -> bool {
    order.payment.own.is_some_and(|own| order.payment.books.held[own] == Some(Held::Sales))
}

/// Whether no more of a payment has gone back than this.
fn goes_back(order: &Order, most: impl Fn(usize) -> u8) -> bool {
    (0..PAYMENTS).all(|payment| order.provider.refunded[payment] <= most(payment))
}

fn is_booked_once(order: &Order) -> bool {
    let ledger = order.payment.books.ledger;
    ledger.received <= paid(order) && ledger.returned <= refunded(order)
}

/// Only who asks for it gets the whole price of a delivered document back.
fn keeps_price(order: &Order) -> bool {
    let refunds = &order.payment.books.refunds;
    let asked = refunds[RefundOf::Request.index()].is_some();
    let all = refunds[RefundOf::Order.index()].is_some_and(|refund| refund.amount >= PRICE);
    !order.jobs.delivered || asked || !all
}

/// The keys of the receivers: an event, a call, an outcome or a word that was taken before is taken once
/// more. So any number of repetitions, at any moment, leads nowhere, and the steps need not try them all.
fn is_repeatable(order: &Order, mutant: Option<Mutant>) -> bool {
    let events = (0..EVENTS).filter(|event| order.payment.inbox[*event] == Stored::Done).all(|event| {
        let mut payment = order.payment.clone();
        webhook::store(&mut payment, &order.provider, event, mutant);
        payment == order.payment
    });
    let calls = Intent::ALL.into_iter().filter(|intent| is_answered(order, *intent)).all(|intent| {
        let mut again = order.clone();
        relay::receive(&mut again, intent, mutant);
        again == *order
    });
    let words = RefundOf::ALL.into_iter().filter(|of| is_known(order, *of)).all(|of| {
        let mut payment = order.payment.clone();
        payment.learn(of, mutant);
        payment == order.payment
    });
    let settled = matches!(order.jobs.message, Message::Answered | Message::Done);
    let outcome = order.jobs.outcome.filter(|_| settled).is_none_or(|outcome| {
        let mut payment = order.payment.clone();
        payment.settle(outcome, mutant);
        payment == order.payment
    });
    events && calls && words && outcome
}

fn is_answered(order: &Order, intent: Intent) -> bool {
    match intent {
        Intent::StartJob => order.jobs.rows > 0,
        Intent::CancelJob => order.jobs.cancel,
        Intent::Refund(of) => order.provider.answered[of.index()],
    }
}

fn is_known(order: &Order, of: RefundOf) -> bool {
    order.payment.books.refunds[of.index()].is_some_and(|refund| refund.succeeded)
}

fn is_closed(order: &Order) -> bool {
    let (payment, ledger) = (&order.payment, order.payment.books.ledger);
    matches!(payment.status, Status::Delivered | Status::Refunded)
        && payment.outbox.is_empty()
        && order.jobs.is_quiet()
        && (ledger.received, ledger.returned, ledger.refunds_due) == (paid(order), refunded(order), 0)
}

fn paid(order: &Order) -> i8 {
    (0..PAYMENTS).map(|payment| order.provider.story.paid(payment).cast_signed()).sum()
}

fn refunded(order: &Order) -> i8 {
    order.provider.refunded.iter().map(|amount| amount.cast_signed()).sum()
}

fn is_repeated(relay: &Relay) -> bool {
    matches!(relay, Relay::Busy { call: Call::Answered { made: false }, intent, .. } if *intent != Intent::CancelJob)
}
