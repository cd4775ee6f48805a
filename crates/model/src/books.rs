//! What payment has written down about money: `services/payment/src/books`.

use crate::mutants::Mutant;
use crate::outbox::RefundOf;
use crate::provider::{PAYMENTS, PRICE};

/// What the payment was credited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Held {
    Sales,
    RefundsDue,
}

/// A refund, from the decision on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Refund {
    pub payment: usize,
    pub amount: u8,
    pub succeeded: bool,
}

/// The ledger: debits are positive. The two sides of `provider` are kept apart, to compare each with what
/// happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ledger {
    pub received: i8,
    pub returned: i8,
    pub sales: i8,
    pub refunds_due: i8,
}

impl Ledger {
    /// Zero, unless a posting is one-sided.
    pub fn sum(self) -> i8 {
        self.received - self.returned + self.sales + self.refunds_due
    }
}

/// The rows of one order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Books {
    /// The payments that have arrived, by the provider's id: the business key.
    pub held: [Option<Held>; PAYMENTS],
    pub refunds: [Option<Refund>; RefundOf::ALL.len()],
    pub ledger: Ledger,
}

impl Books {
    /// Enters a payment that is not known yet.
    pub fn register(&mut self, payment: usize, held: Held, mutant: Option<Mutant>) {
        self.held[payment] = Some(held);
        let amount = PRICE.cast_signed();
        self.ledger.received += amount;
        if mutant == Some(Mutant::OneSidedPosting) {
            return;
        }
        match held {
            Held::Sales => self.ledger.sales -= amount,
            Held::RefundsDue => self.ledger.refunds_due -= amount,
        }
    }

    /// Sets money aside for a refund. False if the same one was begun before.
    pub fn begin(&mut self, of: RefundOf, payment: usize, amount: u8) -> bool {
        if self.refunds[of.index()].is_some() {
            return false;
        }
        self.refunds[of.index()] = Some(Refund { payment, amount, succeeded: false });
        if self.held[payment] == Some(Held::Sales) {
            self.ledger.sales += amount.cast_signed();
            self.ledger.refunds_due -= amount.cast_signed();
        }
        true
    }

    /// Enters the provider's word that a refund was made, whichever way it comes: moves the ledger up to what
    /// is known, not by what the word says. Nothing is entered twice.
    pub fn learn(&mut self, of: RefundOf, mutant: Option<Mutant>) {
        let Some(refund) = &mut self.refunds[of.index()] else {
            return;
        };
        let known = std::mem::replace(&mut refund.succeeded, true);
        if known && mutant != Some(Mutant::RefundBookedByWord) {
            return;
        }
        let amount = refund.amount.cast_signed();
        self.ledger.refunds_due += amount;
        self.ledger.returned += amount;
    }

    /// What was decided to go back of a payment.
    pub fn promised(&self, payment: usize) -> u8 {
        self.of_payment(payment).map(|refund| refund.amount).sum()
    }

    /// What went back of a payment, as far as is known here.
    pub fn returned(&self, payment: usize) -> u8 {
        self.of_payment(payment).filter(|refund| refund.succeeded).map(|refund| refund.amount).sum()
    }

    fn of_payment(&self, payment: usize) -> impl Iterator<Item = &Refund> {
        self.refunds.iter().flatten().filter(move |refund| refund.payment == payment)
    }
}
