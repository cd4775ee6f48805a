//! Each mistake breaks what it must break.

use std::collections::BTreeSet;

use quire_model::Handoff;
use quire_model::mutants::Mutant;
use quire_model::state::Faults;
use stateright::{Checker, Expectation, Model};

use crate::holds::HELD;

/// The names of what a mistake breaks, once everything was tried.
fn broken(mutant: Mutant) -> BTreeSet<&'static str> {
    let model = Handoff { mutant: Some(mutant), ..Handoff::new(1, mutant.faults()) };
    model.checker().spawn_bfs().join().discoveries().into_keys().collect()
}

fn invariants() -> BTreeSet<&'static str> {
    let properties = Handoff::new(1, Faults::NONE).properties();
    let invariants = properties.iter().filter(|property| property.expectation == Expectation::Always);
    invariants.map(|property| property.name).collect()
}

#[test]
fn each_mistake_breaks_its_invariant_and_each_invariant_is_broken_by_one() {
    let mut seen = BTreeSet::new();
    for mutant in Mutant::ALL {
        let broken = broken(mutant);
        match mutant.breaks() {
            Some(name) => assert!(broken.contains(name), "{mutant:?} breaks {broken:?}"),
            None => assert_eq!(broken, BTreeSet::new(), "{mutant:?}"),
        }
        seen.extend(broken);
    }
    assert_eq!(seen, invariants());
}

#[test]
fn the_faults_that_show_a_mistake_break_nothing_without_it() {
    let within = |few: Faults, many: Faults| {
        few.crashes <= many.crashes
            && few.repeats <= many.repeats
            && few.losses <= many.losses
            && few.lapses <= many.lapses
            && few.stalls <= many.stalls
            && few.give_ups <= many.give_ups
            && few.failures <= many.failures
            && few.returns <= many.returns
            && few.looks <= many.looks
    };
    for mutant in Mutant::ALL {
        assert!(HELD.iter().any(|held| within(mutant.faults(), *held)), "{mutant:?}");
    }
}
