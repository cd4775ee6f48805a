//! Mistakes that the model can be built with. If one of them were not found, the model would prove nothing.

use clap::ValueEnum;

use crate::properties;
use crate::state::Faults;

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Mutant {
    /// The 2xx is sent before the commit.
    AckBeforeCommit,
    /// The inbox row is committed first, what the event calls for later.
    MarkerFirst,
    /// When Redis says that an event was seen, nobody looks for the row.
    RedisIsTruth,
    /// The job service inserts without the unique order.
    NoReceiverKey,
    /// The outbox row is done when it is claimed.
    DoneBeforeSending,
    /// An attempt that has lost its lease may still end the job.
    EndingNotFenced,
    /// Payments are told apart by their events, not by their id.
    NoBusinessKey,
    /// A refund is sent without an idempotency key.
    NoRefundKey,
    /// The outbox row is written after the commit.
    OutboxAfterCommit,
    /// An event sets the status that it tells of, whatever the status is.
    LastEventWins,
    /// A completed checkout counts as paid.
    CompletedMeansPaid,
    /// The status changes without an audit row.
    NoAudit,
    /// A payment is debited and not credited.
    OneSidedPosting,
    /// Each word of the provider about a refund is booked.
    RefundBookedByWord,
    /// A wish for a job is withdrawn although it was sent before.
    WithdrawnAfterSending,
    /// The wish for a missing job is renewed without looking whether the order is still paid.
    WishedUnseen,
    /// NOT_FOUND is taken for the end of a job whose start may still be under way.
    NothingToCancel,
    /// A relay that has lost its lease may still store its outcome. The only one that breaks nothing:
    /// receivers and books have keys of their own.
    FinishNotFenced,
}

impl Mutant {
    pub const ALL: [Self; 18] = [
        Self::AckBeforeCommit,
        Self::MarkerFirst,
        Self::RedisIsTruth,
        Self::NoReceiverKey,
        Self::DoneBeforeSending,
        Self::EndingNotFenced,
        Self::NoBusinessKey,
        Self::NoRefundKey,
        Self::OutboxAfterCommit,
        Self::LastEventWins,
        Self::CompletedMeansPaid,
        Self::NoAudit,
        Self::OneSidedPosting,
        Self::RefundBookedByWord,
        Self::WithdrawnAfterSending,
        Self::WishedUnseen,
        Self::NothingToCancel,
        Self::FinishNotFenced,
    ];

    /// The faults that show the mistake. Some show by themselves.
    pub fn faults(self) -> Faults {
        let none = Faults::NONE;
        match self {
            Self::MarkerFirst | Self::DoneBeforeSending | Self::OutboxAfterCommit => {
                Faults { crashes: 1, ..none }
            }
            Self::NoReceiverKey | Self::NoRefundKey => Faults { losses: 1, ..none },
            Self::EndingNotFenced => Faults { stalls: 1, ..none },
            Self::WithdrawnAfterSending => Faults { losses: 1, returns: 1, ..none },
            Self::WishedUnseen => Faults { returns: 1, looks: 1, ..none },
            Self::NothingToCancel => Faults { returns: 1, ..none },
            Self::FinishNotFenced => Faults { crashes: 1, lapses: 1, ..none },
            Self::AckBeforeCommit
            | Self::RedisIsTruth
            | Self::NoBusinessKey
            | Self::LastEventWins
            | Self::CompletedMeansPaid
            | Self::NoAudit
            | Self::OneSidedPosting
            | Self::RefundBookedByWord => none,
        }
    }

    /// The property that the checker must refute first. Nothing for a second guard: what it guards has a key
    /// besides.
    pub fn breaks(self) -> Option<&'static str> {
        Some(match self {
            Self::AckBeforeCommit | Self::RedisIsTruth => properties::STORED,
            Self::MarkerFirst | Self::DoneBeforeSending | Self::OutboxAfterCommit => properties::SERVED,
            Self::NoReceiverKey => properties::ONE_JOB,
            Self::EndingNotFenced => properties::PRICE_KEPT,
            Self::NoBusinessKey | Self::RefundBookedByWord => properties::BOOKED_ONCE,
            Self::NoRefundKey => properties::REFUNDED_ONCE,
            Self::LastEventWins => properties::FORWARD,
            Self::CompletedMeansPaid => properties::PAID_FIRST,
            Self::NoAudit => properties::AUDITED,
            Self::OneSidedPosting => properties::BALANCED,
            Self::WithdrawnAfterSending | Self::WishedUnseen | Self::NothingToCancel => {
                properties::NO_FREE_WORK
            }
            Self::FinishNotFenced => return None,
        })
    }
}
