//! Everything that there is at one moment.

use crate::job::Jobs;
use crate::outbox::Intent;
use crate::payment::Payment;
use crate::provider::{Provider, Story};
use crate::relay::Relay;

/// Processes of payment. Each has a relay and takes webhooks.
pub const REPLICAS: usize = 2;

/// How much may still go wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Processes that die.
    pub crashes: u8,
    /// Events that arrive once more, though nobody lost anything.
    pub repeats: u8,
    /// Answers that are lost.
    pub losses: u8,
    /// Leases of outbox rows that run out while their holder lives.
    pub lapses: u8,
    /// Leases of jobs that run out while their holder lives.
    pub stalls: u8,
    /// Events that the provider stops to deliver.
    pub give_ups: u8,
    /// Events that cannot be applied when they come.
    pub failures: u8,
    /// Customers who get money back. No fault, but as rare.
    pub returns: u8,
    /// Looks of the janitor for paid orders without a job.
    pub looks: u8,
}

impl Faults {
    pub const NONE: Self = Self {
        crashes: 0,
        repeats: 0,
        losses: 0,
        lapses: 0,
        stalls: 0,
        give_ups: 0,
        failures: 0,
        returns: 0,
        looks: 0,
    };
}

/// One order, everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Order {
    pub provider: Provider,
    pub payment: Payment,
    pub jobs: Jobs,
    /// Calls on the network whose caller no longer waits.
    pub strays: Vec<Intent>,
    /// The janitor has seen that the order is paid and has no job, and has not acted on it yet.
    pub missed: bool,
}

impl Order {
    pub fn new(story: Story) -> Self {
        Self {
            provider: Provider::new(story),
            payment: Payment::default(),
            jobs: Jobs::default(),
            strays: Vec::new(),
            missed: false,
        }
    }

    /// Leaves a call on the network. Their order says nothing: each may arrive before the others.
    pub fn stray(&mut self, intent: Intent) {
        let at = self.strays.partition_point(|other| *other <= intent);
        self.strays.insert(at, intent);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub orders: Vec<Order>,
    pub relays: [Relay; REPLICAS],
    pub left: Faults,
}
