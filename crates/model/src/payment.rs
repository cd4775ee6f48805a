//! The order in the database of payment, and the transactions that change it.
//!
//! A transaction is one step: it happens or it does not. `services/payment/src/{transition,apply,settle}.rs`.

use crate::books::{Books, Held};
use crate::job::Outcome;
use crate::mutants::Mutant;
use crate::outbox::{Intent, Outbox, RefundOf, Row};
use crate::provider::{EVENTS, Notice, PRICE};
use crate::webhook::Handlers;

/// Where an order stands. The order of the variants is the only direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Status {
    #[default]
    Open,
    Processing,
    Expired,
    Paid,
    Delivered,
    RefundPending,
    Refunded,
}

/// What is stored of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Stored {
    #[default]
    No,
    /// It could not be applied; that is tried again here.
    Received,
    /// It is applied.
    Done,
}

/// What must be done about a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Nothing,
    Process,
    Expire,
    Pay(usize),
    RefundLate(usize),
    RefundExtra(usize),
}

/// One order as payment knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Payment {
    pub status: Status,
    /// The payment that is the order's own.
    pub own: Option<usize>,
    pub inbox: [Stored; EVENTS],
    pub books: Books,
    pub outbox: Outbox,
    /// Changes of the status without an audit row.
    pub unaudited: u8,
    /// Not stored anywhere: whether the status ever fell.
    pub fell: bool,
    /// Not stored anywhere: webhooks that are being handled right now.
    pub handlers: [Handlers; EVENTS],
}

impl Payment {
    /// `transition.rs`.
    pub fn decide(&self, notice: Notice, mutant: Option<Mutant>) -> Decision {
        let last_word = mutant == Some(Mutant::LastEventWins);
        match notice {
            Notice::Paid(payment) if self.books.held[payment].is_some() => Decision::Nothing,
            Notice::Paid(payment) => match self.status {
                Status::Open | Status::Processing => Decision::Pay(payment),
                Status::Expired => Decision::RefundLate(payment),
                Status::Paid | Status::Delivered | Status::RefundPending | Status::Refunded => {
                    Decision::RefundExtra(payment)
                }
            },
            Notice::Processing if self.status == Status::Open || last_word => Decision::Process,
            Notice::Expired if self.status == Status::Open || last_word => Decision::Expire,
            Notice::Processing | Notice::Expired => Decision::Nothing,
        }
    }

    /// `apply.rs`: does what the notice calls for, all in one transaction.
    pub fn apply(&mut self, notice: Notice, mutant: Option<Mutant>) {
        match self.decide(notice, mutant) {
            Decision::Nothing => {}
            Decision::Process => {
                self.advance(Status::Processing, mutant);
                if mutant == Some(Mutant::CompletedMeansPaid) {
                    self.outbox.enqueue(Intent::StartJob);
                }
            }
            // The document's release is another service's business.
            Decision::Expire => self.advance(Status::Expired, mutant),
            Decision::Pay(payment) => {
                self.own = Some(payment);
                self.advance(Status::Paid, mutant);
                self.books.register(payment, Held::Sales, mutant);
                self.outbox.enqueue(Intent::StartJob);
            }
            Decision::RefundLate(payment) => {
                self.own = Some(payment);
                self.advance(Status::RefundPending, mutant);
                self.send_back(payment, RefundOf::Order, mutant);
            }
            Decision::RefundExtra(payment) => self.send_back(payment, RefundOf::Extra, mutant),
        }
    }

    /// Whether `settle` takes the word of the job service, instead of refusing it until the order is paid.
    pub fn takes_outcomes(&self) -> bool {
        self.status >= Status::Paid
    }

    /// Whether the order's own money is on its way back, or is back.
    pub fn gives_back(&self) -> bool {
        self.status >= Status::RefundPending
    }

    /// `settle.rs`: how the job ended. The first outcome stands.
    pub fn settle(&mut self, outcome: Outcome, mutant: Option<Mutant>) {
        let (Status::Paid, Some(own)) = (self.status, self.own) else {
            return;
        };
        match outcome {
            Outcome::Delivered => self.advance(Status::Delivered, mutant),
            Outcome::Short => {
                self.advance(Status::Delivered, mutant);
                self.refund(RefundOf::Order, (own, self.refundable(own).min(PRICE / 2)), mutant);
            }
            Outcome::Failed | Outcome::Cancelled => {
                self.advance(Status::RefundPending, mutant);
                self.refund(RefundOf::Order, (own, self.refundable(own)), mutant);
            }
        }
    }

    /// What a customer may still get back of the order's own payment.
    pub fn returnable(&self) -> u8 {
        match (self.status, self.own) {
            (Status::Paid | Status::Delivered, Some(own)) => self.refundable(own),
            _ => 0,
        }
    }

    /// `refund_requests.rs`: an administrator agrees that so much goes back.
    pub fn give_back(&mut self, amount: u8, mutant: Option<Mutant>) {
        if let Some(own) = self.own {
            self.refund(RefundOf::Request, (own, amount), mutant);
        }
    }

    /// `outbox::wish_again`: the janitor has found no job. It asked some time before this transaction.
    pub fn wish_again(&mut self, mutant: Option<Mutant>) {
        let paid = self.status == Status::Paid || mutant == Some(Mutant::WishedUnseen);
        if paid && self.outbox.row(Intent::StartJob) == Row::Done {
            self.outbox.set(Intent::StartJob, Row::Tried { leased: false });
        }
    }

    /// `books/refunds.rs`: the provider says that it has sent the money, as an answer or in an event.
    pub fn learn(&mut self, of: RefundOf, mutant: Option<Mutant>) {
        self.books.learn(of, mutant);
        let back = self.own.is_some_and(|own| self.books.returned(own) >= PRICE);
        if back && self.status < Status::Refunded {
            self.advance(Status::Refunded, mutant);
        }
    }

    /// Tasks that the order calls for and that have no row.
    pub fn enqueue_missing(&mut self) {
        if self.status == Status::Paid {
            self.outbox.enqueue(Intent::StartJob);
        }
        for of in RefundOf::ALL {
            if self.books.refunds[of.index()].is_some_and(|refund| !refund.succeeded) {
                self.outbox.enqueue(Intent::Refund(of));
            }
        }
    }

    fn advance(&mut self, to: Status, mutant: Option<Mutant>) {
        self.fell |= to < self.status;
        if to != self.status && mutant == Some(Mutant::NoAudit) {
            self.unaudited += 1;
        }
        self.status = to;
    }

    fn send_back(&mut self, payment: usize, of: RefundOf, mutant: Option<Mutant>) {
        self.books.register(payment, Held::RefundsDue, mutant);
        self.refund(of, (payment, PRICE), mutant);
    }

    fn refundable(&self, payment: usize) -> u8 {
        PRICE - self.books.promised(payment)
    }

    fn refund(&mut self, of: RefundOf, (payment, amount): (usize, u8), mutant: Option<Mutant>) {
        if amount == 0 || !self.books.begin(of, payment, amount) {
            return;
        }
        self.outbox.enqueue(Intent::Refund(of));
        let waits = matches!(self.status, Status::Paid | Status::Delivered);
        if self.own == Some(payment) && waits && self.refundable(payment) == 0 {
            self.end_work(mutant);
            self.advance(Status::RefundPending, mutant);
        }
    }

    /// Keeps the job of a paid order from starting, or stops it.
    fn end_work(&mut self, mutant: Option<Mutant>) {
        if self.status != Status::Paid {
            return;
        }
        let unsent = match self.outbox.row(Intent::StartJob) {
            Row::Fresh => true,
            Row::Tried { leased } => !leased && mutant == Some(Mutant::WithdrawnAfterSending),
            Row::Absent | Row::Done => false,
        };
        if unsent {
            self.outbox.set(Intent::StartJob, Row::Done);
        } else {
            self.outbox.enqueue(Intent::CancelJob);
        }
    }
}
