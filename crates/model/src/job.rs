//! The job service: one job for each order, attempts under a lease, and the message about its end.
//!
//! `services/background-job/src/{start,cancel,ending,lease,outbox}.rs`. An attempt that dies leaves nothing
//! but its lease, and the next one goes on where it stopped: so only an attempt that outlives its lease is a
//! state of its own.

use crate::mutants::Mutant;

/// How a job ended, as payment is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Delivered,
    /// With fewer pages than were paid: half of them.
    Short,
    Failed,
    Cancelled,
}

/// The message about the end, in the job service's own outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Message {
    #[default]
    None,
    /// It is sent until it is answered.
    Waiting,
    /// Payment has answered; that is not stored yet.
    Answered,
    Done,
}

/// The job of one order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Jobs {
    /// Rows for this order.
    pub rows: u8,
    /// An attempt holds the lease.
    pub attempt: bool,
    /// An attempt has lost its lease and does not know it.
    pub stale: bool,
    pub outcome: Option<Outcome>,
    pub message: Message,
    /// The end was asked for.
    pub cancel: bool,
    /// Not stored here: the customer has the document.
    pub delivered: bool,
    /// Not stored here: the document was delivered after its money went back, and nobody has asked for the
    /// end.
    pub owed: bool,
}

impl Jobs {
    /// `start.rs`: StartJob arrives. Answers whether it made the job.
    pub fn start(&mut self, mutant: Option<Mutant>) -> bool {
        let exists = self.rows > 0;
        if exists && mutant != Some(Mutant::NoReceiverKey) {
            return false;
        }
        self.rows += 1;
        // A second job would work as the first does.
        self.attempt |= !exists;
        true
    }

    /// `cancel.rs`: CancelOrderJob arrives. False: there is no job.
    pub fn cancel(&mut self) -> bool {
        self.owed = false;
        // A job that is done stays done.
        self.cancel |= self.attempt;
        self.rows > 0
    }

    /// Outcomes that an attempt may come to. One that hands its document over is no longer cancelled.
    pub fn outcomes(&self) -> &'static [Outcome] {
        if self.cancel {
            &[Outcome::Delivered, Outcome::Short, Outcome::Failed, Outcome::Cancelled]
        } else {
            &[Outcome::Delivered, Outcome::Short, Outcome::Failed]
        }
    }

    /// `ending.rs`: the attempt that holds the lease ends the job and writes the message, in one transaction.
    /// `gone`: the money of the order is on its way back.
    pub fn end(&mut self, outcome: Outcome, gone: bool) {
        self.attempt = false;
        self.write_end(outcome, gone);
    }

    /// The attempt that has lost its lease tries to end the job: the epoch shuts it out.
    pub fn end_stale(&mut self, outcome: Outcome, gone: bool, mutant: Option<Mutant>) {
        self.stale = false;
        if mutant == Some(Mutant::EndingNotFenced) {
            self.write_end(outcome, gone);
        }
    }

    fn write_end(&mut self, outcome: Outcome, gone: bool) {
        self.outcome = Some(outcome);
        self.message = Message::Waiting;
        if matches!(outcome, Outcome::Delivered | Outcome::Short) {
            self.delivered = true;
            self.owed = gone && !self.cancel;
        }
    }

    /// The process dies and starts again. False: nothing that it kept in memory mattered.
    pub fn crash(&mut self) -> bool {
        let mattered = self.stale || self.message == Message::Answered;
        self.stale = false;
        if self.message == Message::Answered {
            self.message = Message::Waiting;
        }
        mattered
    }

    /// Whether all is done.
    pub fn is_quiet(&self) -> bool {
        !self.attempt && !self.stale && matches!(self.message, Message::None | Message::Done)
    }
}
