//! The steps of a journal, and what may be wrong with one.

use crate::payment::Status;

/// What an outbox row is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    StartJob,
    CancelJob,
    /// With its idempotency key at the provider, and how much it sends back, in minor units.
    Refund {
        key: String,
        payment: String,
        amount: i64,
    },
}

/// One durable step. Orders, events and payments have the ids of the real run. Steps of one transaction are
/// in the order in which they stand here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The provider has taken a payment, in minor units.
    Charged { order: String, payment: String, amount: i64 },
    /// An inbox row is committed.
    Stored { event: String },
    /// An audit row: the status of the order changes.
    Moved { order: String, to: Status },
    /// A payment is entered in the books, in minor units.
    Paid { order: String, payment: String, amount: i64 },
    /// An outbox row is committed.
    Enqueued { order: String, task: Task },
    /// What the event calls for is committed, with its row or later.
    Applied { event: String },
    /// A 2xx is sent for the event.
    Acknowledged { event: String },
    /// The janitor has opened the row of StartJob again.
    WishedAgain { order: String },
    /// A relay has the row, under this epoch.
    Claimed { order: String, task: Task, epoch: u64 },
    /// The relay that holds this epoch, or held it, calls the receiver.
    Sent { order: String, task: Task, epoch: u64 },
    /// The row is done. Epoch 0: it was withdrawn, nobody ever had it.
    Done { order: String, task: Task, epoch: u64 },
    /// The job service has a row for the order.
    JobInserted { order: String },
    /// The job has ended, one way or another.
    JobEnded { order: String },
    /// Payment has recorded how the job ended.
    Settled { order: String },
    /// The provider has sent money back, in minor units.
    Refunded { order: String, key: String, amount: i64 },
}

/// A step that the model forbids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {at}: {rule}")]
pub struct Violation {
    /// Its place in the journal, from 0; the length of the journal if something is missing at its end.
    pub at: usize,
    pub rule: Rule,
}

/// What is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    #[error("event {0} is stored twice")]
    StoredTwice(String),
    #[error("event {0} is applied twice")]
    AppliedTwice(String),
    #[error("event {event} is applied and not stored")]
    AppliedUnstored { event: String },
    #[error("event {event} is acknowledged and not stored")]
    AcknowledgedUnstored { event: String },
    #[error("an order goes from {from:?} to {to:?}")]
    Move { from: Status, to: Status },
    #[error("payment {0} is entered twice")]
    PaidTwice(String),
    #[error("payment {payment} is entered as {amount}, the provider has {charged}")]
    PaidUncharged { payment: String, amount: i64, charged: i64 },
    #[error("{0:?} is written twice")]
    EnqueuedTwice(Task),
    #[error("{task:?} is written for an order that is {status:?}")]
    Uncalled { task: Task, status: Status },
    #[error("refunds of payment {payment} come to {promised} of {paid}")]
    OverPromised { payment: String, promised: i64, paid: i64 },
    #[error("{0:?} has no row")]
    NoRow(Task),
    #[error("{0:?} is done and is claimed or finished once more")]
    DoneBefore(Task),
    #[error("{task:?} is in epoch {now}, not {epoch}")]
    Epoch { task: Task, now: u64, epoch: u64 },
    #[error("{0:?} is done and was never sent")]
    Unsent(Task),
    #[error("CancelJob is done while a job may still start")]
    CancelledEarly,
    #[error("a job is wished again for an order that is {0:?}")]
    WishedUnpaid(Status),
    #[error("an order has two jobs")]
    TwoJobs,
    #[error("a job starts that nobody asked for")]
    JobUnasked,
    #[error("a job starts before its order is paid")]
    JobUnpaid,
    #[error("a job ends that is not running")]
    NoJob,
    #[error("an order is settled before its job has ended")]
    SettledEarly,
    #[error("an order is settled twice")]
    SettledTwice,
    #[error("refund {0} is made twice")]
    RefundedTwice(String),
    #[error("refund {0} is made and was not asked for")]
    RefundUnasked(String),
    #[error("refund {key} is {amount}, more than the {decided} that were decided")]
    RefundAmount { key: String, amount: i64, decided: i64 },

    #[error("event {event} is never applied")]
    NeverApplied { event: String },
    #[error("payment {payment} is never entered")]
    NeverEntered { payment: String },
    #[error("order {order}: {task:?} is never done")]
    NeverDone { order: String, task: Task },
    #[error("order {order} is paid and has neither a job nor its money back")]
    NeverServed { order: String },
    #[error("the job of order {order} never ends, or payment never hears of it")]
    NeverSettled { order: String },
}
