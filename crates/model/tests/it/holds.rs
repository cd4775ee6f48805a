//! The model without a mistake, with these faults and every story at the provider.

use quire_model::Handoff;
use quire_model::provider::Story;
use quire_model::state::Faults;
use stateright::{Checker, Model};

const NONE: Faults = Faults::NONE;

const RELAYS_FAIL: Faults = Faults { crashes: 1, losses: 1, lapses: 1, ..NONE };
const EVENTS_ARE_REPEATED: Faults = Faults { repeats: 1, losses: 1, give_ups: 1, failures: 1, ..NONE };
const ATTEMPTS_STALL: Faults = Faults { crashes: 1, stalls: 1, ..NONE };
const PROCESSES_DIE_TWICE: Faults = Faults { crashes: 2, ..NONE };
const MONEY_GOES_BACK: Faults = Faults { losses: 1, returns: 1, ..NONE };
const MONEY_GOES_BACK_IN_A_CRASH: Faults = Faults { crashes: 1, returns: 1, ..NONE };
const JOBS_ARE_MISSED: Faults = Faults { returns: 1, looks: 1, ..NONE };

/// All of the above.
pub(crate) const HELD: [Faults; 7] = [
    RELAYS_FAIL,
    EVENTS_ARE_REPEATED,
    ATTEMPTS_STALL,
    PROCESSES_DIE_TWICE,
    MONEY_GOES_BACK,
    MONEY_GOES_BACK_IN_A_CRASH,
    JOBS_ARE_MISSED,
];

/// Walks through all of it. Every invariant holds, and everything that some run must show is shown.
fn holds(model: Handoff) {
    model.checker().spawn_bfs().join().assert_properties();
}

#[test]
fn it_holds_when_a_process_dies_an_answer_is_lost_and_a_lease_runs_out() {
    holds(Handoff::new(1, RELAYS_FAIL));
}

#[test]
fn it_holds_when_events_are_repeated_lost_and_cannot_be_applied() {
    holds(Handoff::new(1, EVENTS_ARE_REPEATED));
}

#[test]
fn it_holds_when_a_process_dies_and_an_attempt_stalls() {
    holds(Handoff::new(1, ATTEMPTS_STALL));
}

#[test]
fn it_holds_when_processes_die_twice() {
    holds(Handoff::new(1, PROCESSES_DIE_TWICE));
}

#[test]
fn it_holds_when_an_answer_is_lost_and_money_goes_back() {
    holds(Handoff::new(1, MONEY_GOES_BACK));
}

#[test]
fn it_holds_when_a_process_dies_and_money_goes_back() {
    holds(Handoff::new(1, MONEY_GOES_BACK_IN_A_CRASH));
}

#[test]
fn it_holds_when_money_goes_back_while_the_janitor_looks() {
    holds(Handoff::new(1, JOBS_ARE_MISSED));
}

#[test]
fn it_holds_for_two_orders_at_once() {
    let mut model = Handoff::new(2, Faults { lapses: 1, ..NONE });
    model.stories = vec![Story::ToldTwice];
    holds(model);
}
