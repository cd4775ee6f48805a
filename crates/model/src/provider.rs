//! The payment provider: tells of a payment by events until each is acknowledged, and sends money back when
//! asked.
//!
//! In the tests of the services it is `crates/sandbox`, in production it is Stripe.

use clap::ValueEnum;

use crate::mutants::Mutant;
use crate::outbox::RefundOf;

/// Events that the provider has for each order.
pub const EVENTS: usize = 2;
/// Payments that an order may get: its own and an extra one.
pub const PAYMENTS: usize = 2;
/// The price of an order, in the halves of a document, so that a part of it can go back.
pub const PRICE: u8 = 2;

/// What an event says about its order. See `services/payment/src/inbox/event.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The checkout is complete, the money is on its way.
    Processing,
    /// The checkout ran out.
    Expired,
    /// This payment has arrived.
    Paid(usize),
}

/// What has happened at the provider. Only when and how often the service hears of it is still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Story {
    /// One payment, and two different events about it.
    ToldTwice,
    /// A bank debit: completed first, paid later.
    PaidLater,
    /// The checkout ran out, and money came nevertheless.
    PaidLate,
    /// Two tabs, two payments of one order.
    PaidTwice,
}

impl Story {
    pub const ALL: [Self; 4] = [Self::ToldTwice, Self::PaidLater, Self::PaidLate, Self::PaidTwice];

    /// The events, in the order in which the provider made them; they may arrive in any.
    pub fn events(self) -> [Notice; EVENTS] {
        match self {
            Self::ToldTwice => [Notice::Paid(0), Notice::Paid(0)],
            Self::PaidLater => [Notice::Processing, Notice::Paid(0)],
            Self::PaidLate => [Notice::Expired, Notice::Paid(0)],
            Self::PaidTwice => [Notice::Paid(0), Notice::Paid(1)],
        }
    }

    /// What the provider has taken as this payment.
    pub fn paid(self, payment: usize) -> u8 {
        if self.events().contains(&Notice::Paid(payment)) { PRICE } else { 0 }
    }
}

/// How far the delivery of an event is, as the provider sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// It is sent again and again.
    Due,
    /// A 2xx was received.
    Acknowledged,
    /// The provider has stopped trying.
    GivenUp,
    /// The provider has stopped trying, and was asked for it.
    Mended,
}

/// The provider's own record of one order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Provider {
    pub story: Story,
    pub deliveries: [Delivery; EVENTS],
    /// What went back of each payment.
    pub refunded: [u8; PAYMENTS],
    /// Idempotency keys under which an answer is kept.
    pub answered: [bool; RefundOf::ALL.len()],
}

impl Provider {
    pub fn new(story: Story) -> Self {
        Self {
            story,
            deliveries: [Delivery::Due; EVENTS],
            refunded: [0; PAYMENTS],
            answered: [false; RefundOf::ALL.len()],
        }
    }

    pub fn notice(&self, event: usize) -> Notice {
        self.story.events()[event]
    }

    /// A 2xx arrives. After the provider has stopped trying nobody listens for it.
    pub fn acknowledge(&mut self, event: usize) {
        if self.deliveries[event] == Delivery::Due {
            self.deliveries[event] = Delivery::Acknowledged;
        }
    }

    /// Sends money back, once for each key. Answers whether this call did it.
    ///
    /// A real provider refunds no payment beyond its amount; this one does, so that nothing here leans on it.
    pub fn refund(&mut self, of: RefundOf, (payment, amount): (usize, u8), mutant: Option<Mutant>) -> bool {
        let known = std::mem::replace(&mut self.answered[of.index()], true);
        if known && mutant != Some(Mutant::NoRefundKey) {
            return false;
        }
        self.refunded[payment] += amount;
        true
    }
}
