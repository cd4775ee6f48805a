//! What can happen.

use crate::job::Outcome;
use crate::outbox::{Intent, RefundOf};

/// A process that may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Process {
    /// With its relay and the webhooks that are being handled. `sent`: a call that was under way is on the
    /// network and still arrives; otherwise it never left.
    Payment {
        relay: usize,
        sent: bool,
    },
    Jobs,
}

/// One step. Numbers are those of orders, events and relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The provider delivers an event, and it is handled up to its commit.
    Handle {
        order: usize,
        event: usize,
    },
    /// A mutant's handler does its second step.
    Complete {
        order: usize,
        event: usize,
    },
    /// A mutant's handler believes what Redis says.
    BelieveRedis {
        order: usize,
        event: usize,
    },
    /// The 2xx reaches the provider.
    Acknowledge {
        order: usize,
        event: usize,
    },
    /// `sweep.rs`: the provider is asked how an unsettled order stands, and tells what this event tells.
    Sweep {
        order: usize,
        event: usize,
    },
    /// `inbox/retry.rs`: an event that could not be applied is applied.
    Retry {
        order: usize,
        event: usize,
    },
    /// The reconcile asks the provider for an event that never arrived.
    Reconcile {
        order: usize,
        event: usize,
    },
    /// A relay takes a task and sends it off.
    Claim {
        relay: usize,
        order: usize,
        intent: Intent,
    },
    /// The call arrives and is answered.
    Arrive {
        relay: usize,
    },
    /// The relay stores the outcome, or is fenced.
    Finish {
        relay: usize,
    },
    /// A call arrives whose caller no longer waits.
    Stray {
        order: usize,
        at: usize,
    },
    /// The provider tells of a refund by an event, perhaps before it answers the call.
    TellRefund {
        order: usize,
        of: RefundOf,
    },
    /// The attempt that holds the lease ends the job.
    End {
        order: usize,
        outcome: Outcome,
    },
    /// An attempt without the lease tries to.
    EndStale {
        order: usize,
        outcome: Outcome,
    },
    /// Payment is told how the job ended, and answers.
    Settle {
        order: usize,
    },
    /// The job service stores that payment has answered.
    Settled {
        order: usize,
    },
    /// The janitor renews the wish for a job that it has missed.
    WishAgain {
        order: usize,
    },

    /// A customer gets money back.
    GiveBack {
        order: usize,
        amount: u8,
    },
    /// `reconcile/jobs.rs`: the janitor sees that a paid order has no job.
    Miss {
        order: usize,
    },

    /// An event arrives once more.
    Repeat {
        order: usize,
        event: usize,
    },
    /// An event arrives and cannot be applied now.
    Defer {
        order: usize,
        event: usize,
    },
    /// The 2xx is lost.
    LoseAck {
        order: usize,
        event: usize,
    },
    /// The provider stops to deliver an event.
    GiveUp {
        order: usize,
        event: usize,
    },
    /// The answer to a relay is lost: it gives the task back.
    LoseAnswer {
        relay: usize,
    },
    /// A relay waits no longer and gives the task back; its call still arrives.
    TimeOut {
        relay: usize,
    },
    /// A relay's lease runs out while it still works, and the other one takes its task.
    Steal {
        relay: usize,
        order: usize,
        intent: Intent,
    },
    /// An attempt's lease runs out while it still works; the next one begins.
    StallAttempt {
        order: usize,
    },
    /// Payment's answer about the end of a job is lost.
    LoseSettled {
        order: usize,
    },
    Crash(Process),
}

impl Action {
    /// Whether it may also never happen. Everything else happens in the end.
    pub fn is_fault(self) -> bool {
        matches!(
            self,
            Self::GiveBack { .. }
                | Self::Miss { .. }
                | Self::Defer { .. }
                | Self::Repeat { .. }
                | Self::LoseAck { .. }
                | Self::GiveUp { .. }
                | Self::LoseAnswer { .. }
                | Self::TimeOut { .. }
                | Self::Steal { .. }
                | Self::StallAttempt { .. }
                | Self::LoseSettled { .. }
                | Self::Crash(_)
        )
    }
}
