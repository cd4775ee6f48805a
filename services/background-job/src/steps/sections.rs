//! Writing the sections, several at once.
//!
//! A window slides over the plan: section k may start once all sections up to k-N are written, where N is how many are
//! written at once, and it is told of exactly these. So what a section is told depends on the plan and on the texts
//! before it, never on which of its neighbours was quicker: an attempt after a crash asks the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::section::{self, Place};
use crate::attempt::{Attempt, Desk, input_hash};
use crate::error::Stop;
use crate::recorder::DONE;
use crate::store::entity::step;
use crate::writer::{Plan, Written};

/// Every section of the plan, written now or before.
///
/// # Errors
/// As [`Attempt::run`]. Sections under way are finished before, since their money is spent; but not if the lease is
/// lost.
pub async fn run_all(attempt: &Attempt<'_>, desk: &Desk, plan: &Plan) -> Result<Vec<Written>, Stop> {
    let places = places(plan);
    let kept = kept(attempt).await?;
    let mut window = Window::new(places.len(), attempt.tools.sections_at_once);
    let mut under_way = Vec::new();
    for (at, place) in places.iter().enumerate() {
        match of_place(&kept, place) {
            Some(step) if step.status == DONE => window.put(at, section::read(step)?),
            Some(_) => under_way.push(at),
            None => {}
        }
    }
    // Whichever of them broke the process off: alone, it is the one to blame.
    if attempt.job.crash_count > 0 {
        for at in under_way {
            attempt.checkpoint()?;
            window.begin(at);
            let before = window.before(at);
            window.put(at, section::run(attempt, desk, plan, &places[at], &before).await?);
        }
    }

    let mut running = FuturesUnordered::new();
    let mut stops = Stops::default();
    loop {
        let mut halted = Ok(());
        while stops.is_empty()
            && let Some(at) = window.next()
        {
            halted = attempt.checkpoint();
            if halted.is_err() {
                break;
            }
            window.begin(at);
            let (place, before) = (&places[at], window.before(at));
            running.push(async move { (at, section::run(attempt, desk, plan, place, &before).await) });
        }
        match running.next().await {
            Some((at, Ok(written))) => {
                window.put(at, written);
                stops.one_finished();
            }
            Some((_, Err(Stop::LeaseLost))) => return Err(Stop::LeaseLost),
            Some((at, Err(stop))) => stops.add(at, stop),
            None => {
                for at in stops.decide()? {
                    window.give_up(at);
                }
                halted?;
                if window.is_whole() {
                    return Ok(window.into_written());
                }
            }
        }
    }
}

/// The sections that the document service has, in the order of the plan, each with its place counted from 0.
///
/// # Errors
/// One cannot be read, or the database is gone.
pub async fn finished(attempt: &Attempt<'_>, plan: &Plan) -> Result<Vec<(usize, Written)>, Stop> {
    let kept = kept(attempt).await?;
    let mut finished = Vec::new();
    for (at, place) in places(plan).iter().enumerate() {
        if let Some(step) = of_place(&kept, place).filter(|step| step.status == DONE) {
            finished.push((at, section::read(step)?));
        }
    }
    Ok(finished)
}

fn places(plan: &Plan) -> Vec<Place<'_>> {
    let plan_hash = input_hash(plan);
    let total = plan.sections().count();
    let place = |((chapter, section), number)| Place::new(&plan_hash, chapter, section, (number, total));
    plan.sections().zip(1..).map(place).collect()
}

/// The checkpoints of the job's sections by their keys.
async fn kept(attempt: &Attempt<'_>) -> Result<HashMap<String, step::Model>, Stop> {
    let steps = attempt.kept_sections().await?;
    Ok(steps.into_iter().map(|step| (step.step_key.clone(), step)).collect())
}

fn of_place<'a>(kept: &'a HashMap<String, step::Model>, place: &Place<'_>) -> Option<&'a step::Model> {
    kept.get(&place.step_key).filter(|step| step.input_hash == place.input_hash)
}

/// Which sections are written and which may start. Places are counted from 0.
struct Window {
    at_once: usize,
    written: Vec<Option<Arc<Written>>>,
    begun: Vec<bool>,
    /// So many are written from the start without a gap.
    whole: usize,
}

impl Window {
    fn new(sections: usize, at_once: usize) -> Self {
        Self { at_once, written: vec![None; sections], begun: vec![false; sections], whole: 0 }
    }

    /// The first section that may start.
    fn next(&self) -> Option<usize> {
        let last = self.begun.len().min(self.whole + self.at_once);
        (self.whole..last).find(|at| !self.begun[*at])
    }

    fn begin(&mut self, at: usize) {
        self.begun[at] = true;
    }

    /// It is not written after all.
    fn give_up(&mut self, at: usize) {
        self.begun[at] = false;
    }

    fn put(&mut self, at: usize, written: Written) {
        self.begun[at] = true;
        self.written[at] = Some(Arc::new(written));
        while self.written.get(self.whole).is_some_and(Option::is_some) {
            self.whole += 1;
        }
    }

    /// What a section that may start is told of.
    fn before(&self, at: usize) -> Vec<Arc<Written>> {
        let count = (at + 1).saturating_sub(self.at_once);
        self.written[..count].iter().flatten().cloned().collect()
    }

    fn is_whole(&self) -> bool {
        self.whole == self.written.len()
    }

    fn into_written(self) -> Vec<Written> {
        self.written.into_iter().flatten().map(Arc::unwrap_or_clone).collect()
    }
}

/// Why sections were not written, by their places.
#[derive(Default)]
struct Stops {
    stops: BTreeMap<usize, Stop>,
    /// How many others were finished meanwhile.
    finished: usize,
}

impl Stops {
    fn is_empty(&self) -> bool {
        self.stops.is_empty()
    }

    fn one_finished(&mut self) {
        self.finished += 1;
    }

    fn add(&mut self, at: usize, stop: Stop) {
        self.stops.insert(at, stop);
    }

    /// When nothing is under way any more: the sections to try again now, because others had reserved the money that
    /// they lacked.
    ///
    /// # Errors
    /// The first reason in the order of the plan; a budget only if there is no other one.
    fn decide(&mut self) -> Result<Vec<usize>, Stop> {
        let (stops, finished) = (std::mem::take(&mut self.stops), std::mem::take(&mut self.finished));
        let over_budget = |stop: &Stop| matches!(stop, Stop::Budget(_));
        if finished > 0 && stops.values().all(over_budget) {
            return Ok(stops.into_keys().collect());
        }
        let (budgets, others): (Vec<Stop>, Vec<Stop>) = stops.into_values().partition(over_budget);
        others.into_iter().chain(budgets).next().map_or(Ok(Vec::new()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::budget::Exhausted;
    use crate::writer::Usage;

    fn written(at: usize) -> Written {
        let usage = Usage::default();
        Written {
            key: at.to_string(),
            blocks: Vec::new(),
            writer: String::new(),
            summary: String::new(),
            usage,
        }
    }

    fn started(window: &mut Window) -> Vec<usize> {
        let mut started = Vec::new();
        while let Some(at) = window.next() {
            window.begin(at);
            started.push(at);
        }
        started
    }

    #[test]
    fn a_section_starts_and_is_told_by_the_plan_alone() {
        let mut window = Window::new(7, 3);
        assert_eq!(started(&mut window), [0, 1, 2]);
        window.put(2, written(2));
        assert!(started(&mut window).is_empty(), "0 is not written");
        window.put(0, written(0));
        assert_eq!(started(&mut window), [3]);
        window.put(1, written(1));
        assert_eq!(started(&mut window), [4, 5], "all up to 2 are written");
        for at in 0..6 {
            let keys: Vec<String> = window.before(at).iter().map(|told| told.key.clone()).collect();
            let expected: Vec<String> = (0..(at + 1).saturating_sub(3)).map(|at| at.to_string()).collect();
            assert_eq!(keys, expected, "section {at}");
        }
    }

    #[test]
    fn one_at_once_is_told_everything_before() {
        let mut window = Window::new(3, 1);
        for at in 0..3 {
            assert_eq!(started(&mut window), [at]);
            assert_eq!(window.before(at).len(), at);
            window.put(at, written(at));
        }
        assert!(window.is_whole());
        assert_eq!(window.into_written().len(), 3);
    }

    #[test]
    fn the_first_reason_in_the_plan_decides_and_a_budget_last() {
        let mut stops = Stops::default();
        stops.add(5, Stop::retry("five"));
        stops.add(3, Stop::retry("three"));
        stops.add(1, Stop::Budget(Exhausted::Job));
        assert_eq!(stops.decide().unwrap_err().to_string(), "three");
        assert!(stops.decide().unwrap().is_empty());
    }

    #[test]
    fn a_budget_that_others_had_reserved_is_asked_again_once_they_are_done() {
        let mut stops = Stops::default();
        stops.add(2, Stop::Budget(Exhausted::Job));
        stops.one_finished();
        stops.add(3, Stop::Budget(Exhausted::Job));
        assert_eq!(stops.decide().unwrap(), [2, 3]);
        stops.add(2, Stop::Budget(Exhausted::Job));
        assert!(matches!(stops.decide(), Err(Stop::Budget(Exhausted::Job))));
    }
}
