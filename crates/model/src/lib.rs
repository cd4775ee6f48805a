//! A model of payment to job, checked exhaustively.
//!
//! The provider, the services of payment and of jobs and the network between them, as small as they can be
//! made while every durable step of the code is a step here. The checker walks through every order in which
//! the steps can happen, with a bounded number of crashes, lost and repeated messages and leases that run
//! out. See the README.

pub mod action;
pub mod books;
pub mod job;
pub mod mutants;
pub mod outbox;
pub mod payment;
mod possible;
pub mod properties;
pub mod provider;
pub mod relay;
pub mod replay;
pub mod state;
mod take;
pub mod webhook;

use stateright::{Model, Property};

use action::Action;
use mutants::Mutant;
use provider::Story;
use relay::Relay;
use state::{Faults, Order, REPLICAS, State};

/// From a payment to a job: what is modelled, and how far.
#[derive(Debug, Clone)]
pub struct Handoff {
    /// Orders that are paid at the same time.
    pub orders: usize,
    /// What may have happened at the provider. Each order has one of these.
    pub stories: Vec<Story>,
    pub faults: Faults,
    /// Whether payment asks the provider about orders that are not settled.
    pub sweeps: bool,
    /// The mistake it is built with. None: it follows the code.
    pub mutant: Option<Mutant>,
}

impl Handoff {
    /// As the code is, with every story.
    pub fn new(orders: usize, faults: Faults) -> Self {
        Self { orders, stories: Story::ALL.to_vec(), faults, sweeps: true, mutant: None }
    }

    /// Whether nothing is left to do but what may also never happen.
    pub fn is_quiet(&self, state: &State) -> bool {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        actions
            .into_iter()
            .filter(|action| !action.is_fault())
            .all(|action| self.next_state(state, action).is_none())
    }
}

impl Model for Handoff {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        // Which order has which story makes no difference: so they are in order.
        let mut rows = vec![Vec::new()];
        for _ in 0..self.orders {
            let longer = |row: &Vec<usize>| {
                let row = row.clone();
                let first = row.last().copied().unwrap_or_default();
                (first..self.stories.len()).map(move |story| [row.clone(), vec![story]].concat())
            };
            rows = rows.iter().flat_map(longer).collect();
        }
        let state = |row: Vec<usize>| State {
            orders: row.into_iter().map(|story| Order::new(self.stories[story])).collect(),
            relays: [Relay::Idle; REPLICAS],
            left: self.faults,
        };
        rows.into_iter().map(state).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        possible::all(self, state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        take::take(self, last, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::invariants();
        if self.mutant.is_none() {
            properties.extend(properties::sights(self));
        }
        properties
    }
}
