//! The plan of a digest after its customer has changed the outline.

use std::collections::{HashMap, HashSet};

use quire_digest::{Corpus, Plan, PlannedSection as Slot};

use super::digest::State;
use crate::writer::PlannedChapter;

/// Quotations for the chapters that the customer wants, for as many characters as were planned. Sections for which the
/// sources have nothing are left out, and chapters without sections. `None`: nothing is left.
pub fn revise(
    corpus: &Corpus,
    planned: &Plan,
    mut chapters: Vec<PlannedChapter>,
) -> Option<(Vec<PlannedChapter>, State)> {
    let slots: HashMap<&str, &Slot> = planned
        .chapters
        .iter()
        .flat_map(|chapter| &chapter.sections)
        .map(|section| (section.key.as_str(), section))
        .collect();
    let whole: u64 = slots.values().map(|slot| u64::from(slot.character_budget)).sum();
    let usual = whole / u64::try_from(slots.len()).unwrap_or(u64::MAX).max(1);
    // Each turn leaves at least one section out.
    while !chapters.is_empty() {
        let plan = with_budgets(planned, &slots, &chapters, (whole, usual));
        let assignment = quire_digest::assign(corpus, &plan);
        let filled: HashSet<&str> = assignment
            .sections
            .iter()
            .filter(|section| !section.runs.is_empty())
            .map(|section| section.key.as_str())
            .collect();
        if plan.keys().iter().all(|key| filled.contains(key)) {
            return Some((chapters, State { plan, assignment }));
        }
        for chapter in &mut chapters {
            chapter.sections.retain(|section| filled.contains(section.key.as_str()));
        }
        chapters.retain(|chapter| !chapter.sections.is_empty());
    }
    None
}

/// What is known of a section stays; a new one gets a usual budget. All are scaled to the whole.
fn with_budgets(
    planned: &Plan,
    slots: &HashMap<&str, &Slot>,
    chapters: &[PlannedChapter],
    (whole, usual): (u64, u64),
) -> Plan {
    let budget = |key: &str| slots.get(key).map_or(usual, |slot| u64::from(slot.character_budget));
    let sections = chapters.iter().flat_map(|chapter| &chapter.sections);
    let sum = sections.map(|section| budget(&section.key)).sum::<u64>().max(1);
    let slot = |section: &crate::writer::PlannedSection| {
        let known = slots.get(section.key.as_str()).filter(|slot| slot.title == section.title);
        Slot {
            key: section.key.clone(),
            title: section.title.clone(),
            query_terms: known.map(|slot| slot.query_terms.clone()).unwrap_or_default(),
            character_budget: u32::try_from(budget(&section.key) * whole / sum).unwrap_or(u32::MAX),
        }
    };
    let chapters = chapters.iter().map(|chapter| quire_digest::PlannedChapter {
        title: chapter.title.clone(),
        sections: chapter.sections.iter().map(slot).collect(),
    });
    Plan { title: planned.title.clone(), language: planned.language.clone(), chapters: chapters.collect() }
}
