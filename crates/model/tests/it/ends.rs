//! Every run ends: what must hold in the end is checked where nothing is left to do, and each run comes
//! there.

use std::collections::HashMap;

use quire_model::Handoff;
use quire_model::state::{Faults, State};
use stateright::Model;

/// Whether a state lies on the path that is being walked, or all that follows from it was walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    OnThePath,
    Walked,
}

/// Walks depth first; a state that is met again on its own path is a run without an end. Counts the states.
fn count_of_states_without_a_cycle(model: &Handoff) -> usize {
    let mut marks: HashMap<State, Mark> = HashMap::new();
    let mut path: Vec<(State, Vec<State>)> = Vec::new();
    for first in model.init_states() {
        marks.insert(first.clone(), Mark::OnThePath);
        let next = model.next_states(&first);
        path.push((first, next));
        while let Some((state, next)) = path.last_mut() {
            let Some(next) = next.pop() else {
                marks.insert(state.clone(), Mark::Walked);
                path.pop();
                continue;
            };
            match marks.get(&next) {
                Some(Mark::OnThePath) => panic!("a run goes on for ever: {next:#?}"),
                Some(Mark::Walked) => {}
                None => {
                    marks.insert(next.clone(), Mark::OnThePath);
                    let following = model.next_states(&next);
                    path.push((next, following));
                }
            }
        }
    }
    marks.len()
}

#[test]
fn no_run_goes_on_for_ever() {
    let none = Faults::NONE;
    let faults = [
        Faults { crashes: 1, ..none },
        Faults { repeats: 1, losses: 1, ..none },
        Faults { lapses: 1, stalls: 1, ..none },
        Faults { give_ups: 1, failures: 1, ..none },
        Faults { returns: 1, ..none },
        Faults { looks: 1, ..none },
    ];
    for faults in faults {
        assert!(count_of_states_without_a_cycle(&Handoff::new(1, faults)) > 1000);
    }
}
