//! The replay and the model agree: what the model does is a journal that the replay accepts, and what breaks
//! the model is one that it refuses.

use proptest::prelude::*;
use quire_model::Handoff;
use quire_model::mutants::Mutant;
use quire_model::replay::{Violation, replay, replay_to_the_end};
use quire_model::state::{Faults, State};
use stateright::{Checker, HasDiscoveries, Model};

use crate::journal::Journal;

const FAULTS: Faults = Faults {
    crashes: 2,
    repeats: 2,
    losses: 2,
    lapses: 2,
    stalls: 1,
    give_ups: 1,
    failures: 1,
    returns: 1,
    looks: 1,
};

/// Takes one of the possible steps, again and again, until none is left.
fn walk(model: &Handoff, choices: &mut impl Iterator<Item = usize>) -> Option<(State, Journal)> {
    let firsts = model.init_states();
    let mut state = firsts[choices.next()? % firsts.len()].clone();
    let mut journal = Journal::begin(&state);
    loop {
        let steps = model.next_steps(&state);
        if steps.is_empty() {
            return Some((state, journal));
        }
        let (action, next) = steps[choices.next()? % steps.len()].clone();
        journal.note(&state, action, &next);
        state = next;
    }
}

proptest! {
    #[test]
    fn every_run_of_the_model_is_accepted(
        orders in 1..=2_usize,
        choices in proptest::collection::vec(any::<usize>(), 400),
    ) {
        let model = Handoff::new(orders, FAULTS);
        let (state, journal) = walk(&model, &mut choices.into_iter()).expect("no run is that long");
        prop_assert!(model.is_quiet(&state));
        prop_assert_eq!(replay_to_the_end(&journal.steps), Ok(()));
    }
}

/// The journal of the checker's counterexample.
fn judged(mutant: Mutant, name: &'static str) -> Result<(), Violation> {
    let model = Handoff { mutant: Some(mutant), ..Handoff::new(1, mutant.faults()) };
    let wanted = HasDiscoveries::AnyOf([name].into());
    let checker = model.checker().finish_when(wanted).spawn_bfs().join();
    let path = checker.assert_any_discovery(name).into_vec();
    let mut journal = Journal::begin(&path[0].0);
    for pair in path.windows(2) {
        let [(before, Some(action)), (after, _)] = pair else { unreachable!("only the last has no action") };
        journal.note(before, *action, after);
    }
    if checker.model().is_quiet(&path[path.len() - 1].0) {
        replay_to_the_end(&journal.steps)
    } else {
        replay(&journal.steps)
    }
}

#[test]
fn every_counterexample_is_refused() {
    for mutant in Mutant::ALL {
        let Some(name) = mutant.breaks() else { continue };
        // A journal has no ledger rows, of the audit only what is there, and no answers.
        let unseen =
            [Mutant::NoAudit, Mutant::OneSidedPosting, Mutant::RefundBookedByWord, Mutant::NothingToCancel];
        assert_eq!(judged(mutant, name).is_ok(), unseen.contains(&mutant), "{mutant:?}");
    }
}
