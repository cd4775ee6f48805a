//! Gives every section of a plan its quotations, each used once in the whole document.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use crate::Corpus;
use crate::plan::{Plan, section_query};

/// Which sentences go where. Small, so that it can be kept between the writing of two sections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    pub sections: Vec<SectionRuns>,
}

/// The quotations of one section in the order in which they are printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionRuns {
    /// [`crate::PlannedSection::key`].
    pub key: String,
    pub runs: Vec<Run>,
}

/// Sentences that follow each other on one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Ids of [`Corpus`], ascending and without gaps.
    pub sentences: Vec<u32>,
    /// `Some(n)`: may be left out; unique in the document, the higher the less it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<u32>,
}

impl Assignment {
    pub fn section(&self, key: &str) -> Option<&SectionRuns> {
        self.sections.iter().find(|section| section.key == key)
    }

    /// Characters of all quotations together.
    pub fn characters(&self, corpus: &Corpus) -> u64 {
        let runs = self.sections.iter().flat_map(|section| &section.runs);
        runs.flat_map(|run| &run.sentences)
            .filter_map(|id| corpus.sentences.get(*id as usize))
            .map(|sentence| sentence.text.chars().count() as u64)
            .sum()
    }
}

/// Weight of relevance against likeness to what is already used (Carbonell and Goldstein, "The Use of MMR", 1998).
const LAMBDA: f64 = 0.7;
/// Passages less relevant than this, compared with a section's best, come only when nothing better is left.
const RELEVANT: f64 = 0.08;
/// Share of a section's budget that must be printed; what goes beyond it may be trimmed to meet the page count.
/// A budget holds 15 % more than the page count asks for, so this is about 80 % of what is printed.
const FIRM: f64 = 0.7;
/// A section is full when less than this many characters are missing.
const SLACK: f64 = 120.0;
/// Definitions that open a section, at most.
const DEFINITIONS: usize = 2;
const MERGED_CHARACTERS: u32 = 1400;

/// Selects for all sections in turns, so that the first ones do not take the best from the later ones.
pub fn assign(corpus: &Corpus, plan: &Plan) -> Assignment {
    let mut selector = Selector::new(corpus, plan);
    selector.by_relevance();
    selector.by_nearness();
    selector.finish(plan)
}

#[derive(Clone, Copy, PartialEq)]
struct Ranked {
    score: f64,
    passage: u32,
}

impl Eq for Ranked {}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.passage.cmp(&self.passage))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct Slot {
    budget: f64,
    filled: f64,
    /// Relevance of every passage, 0 to 1.
    relevance: Vec<f32>,
    chosen: Vec<Ranked>,
}

impl Slot {
    fn is_full(&self) -> bool {
        self.filled + SLACK >= self.budget
    }
}

struct Selector<'a> {
    corpus: &'a Corpus,
    slots: Vec<Slot>,
    used: Vec<bool>,
    /// Likeness of each passage to the most similar one that is used.
    likeness: Vec<f64>,
    by_source: Vec<f64>,
    source_cap: f64,
}

impl<'a> Selector<'a> {
    fn new(corpus: &'a Corpus, plan: &Plan) -> Self {
        let mut slots = Vec::new();
        for chapter in &plan.chapters {
            for section in &chapter.sections {
                let scores = corpus.index.scores(&section_query(corpus, plan, chapter, section));
                let best = scores.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
                let relevance = scores
                    .iter()
                    .zip(&corpus.passages)
                    .map(|(score, passage)| (score / best * passage.standing) as f32)
                    .collect();
                slots.push(Slot {
                    budget: f64::from(section.character_budget),
                    filled: 0.0,
                    relevance,
                    chosen: Vec::new(),
                });
            }
        }
        let total: f64 = slots.iter().map(|slot| slot.budget).sum();
        // One or two sources may carry a document alone; of many, none should.
        let share =
            if corpus.sources.len() <= 2 { 1.0 } else { (2.5 / corpus.sources.len() as f64).max(0.34) };
        let passages = corpus.passages.len();
        Self {
            corpus,
            slots,
            used: vec![false; passages],
            likeness: vec![0.0; passages],
            by_source: vec![0.0; corpus.sources.len()],
            source_cap: total * share,
        }
    }

    fn by_relevance(&mut self) {
        let mut heaps: Vec<BinaryHeap<Ranked>> = self
            .slots
            .iter()
            .map(|slot| {
                let all = slot
                    .relevance
                    .iter()
                    .enumerate()
                    .filter(|(_, relevance)| f64::from(**relevance) >= RELEVANT);
                all.map(|(passage, relevance)| Ranked {
                    score: LAMBDA * f64::from(*relevance),
                    passage: passage as u32,
                })
                .collect()
            })
            .collect();
        let mut done: Vec<bool> = self.slots.iter().map(Slot::is_full).collect();
        while let Some(at) = self.emptiest(&done) {
            match self.best(at, &mut heaps[at]) {
                Some(ranked) => self.take(at, ranked),
                None => done[at] = true,
            }
            done[at] |= self.slots[at].is_full();
        }
    }

    /// The next passage of a section by MMR. Scores only sink while others are used, so that one that still
    /// holds its place after being computed again is the best.
    fn best(&self, slot: usize, heap: &mut BinaryHeap<Ranked>) -> Option<Ranked> {
        while let Some(top) = heap.pop() {
            let passage = &self.corpus.passages[top.passage as usize];
            if self.used[top.passage as usize] || self.by_source[passage.source as usize] >= self.source_cap {
                continue;
            }
            let relevance = f64::from(self.slots[slot].relevance[top.passage as usize]);
            let now = LAMBDA * relevance - (1.0 - LAMBDA) * self.likeness[top.passage as usize];
            if heap.peek().is_none_or(|next| now >= next.score) {
                return Some(Ranked { score: now, passage: top.passage });
            }
            heap.push(Ranked { score: now, passage: top.passage });
        }
        None
    }

    /// Fills what relevance left open with the passages that stand nearest to the chosen ones.
    fn by_nearness(&mut self) {
        let mut queues: Vec<std::vec::IntoIter<u32>> =
            (0..self.slots.len()).map(|at| self.neighbours(at).into_iter()).collect();
        let mut done: Vec<bool> = self.slots.iter().map(Slot::is_full).collect();
        let mut order = 0.0;
        while let Some(at) = self.emptiest(&done) {
            match queues[at].find(|passage| !self.used[*passage as usize]) {
                Some(passage) => {
                    order += 1.0;
                    self.take(at, Ranked { score: -1.0 - order * 1e-6, passage });
                }
                None => done[at] = true,
            }
            done[at] |= self.slots[at].is_full();
        }
    }

    fn neighbours(&self, slot: usize) -> Vec<u32> {
        if self.slots[slot].is_full() {
            return Vec::new();
        }
        let count = self.corpus.passages.len();
        let mut distance = vec![u32::MAX; count];
        for chosen in &self.slots[slot].chosen {
            distance[chosen.passage as usize] = 0;
        }
        for at in 1..count {
            distance[at] = distance[at].min(distance[at - 1].saturating_add(self.step(at - 1, at)));
        }
        for at in (1..count).rev() {
            distance[at - 1] = distance[at - 1].min(distance[at].saturating_add(self.step(at - 1, at)));
        }
        let mut order: Vec<u32> = (0..count as u32).filter(|passage| !self.used[*passage as usize]).collect();
        order.sort_by_key(|passage| (distance[*passage as usize], *passage));
        order
    }

    fn step(&self, left: usize, right: usize) -> u32 {
        if self.corpus.passages[left].source == self.corpus.passages[right].source { 1 } else { 1000 }
    }

    /// The section, among those not done, of whose budget the smallest share is filled.
    fn emptiest(&self, done: &[bool]) -> Option<usize> {
        let open = (0..self.slots.len()).filter(|at| !done[*at]);
        open.min_by(|a, b| {
            let share = |at: usize| self.slots[at].filled / self.slots[at].budget.max(1.0);
            share(*a).total_cmp(&share(*b)).then(a.cmp(b))
        })
    }

    fn take(&mut self, slot: usize, ranked: Ranked) {
        let passage = &self.corpus.passages[ranked.passage as usize];
        self.used[ranked.passage as usize] = true;
        self.by_source[passage.source as usize] += f64::from(passage.characters);
        self.slots[slot].filled += f64::from(passage.characters);
        self.slots[slot].chosen.push(ranked);
        for (other, likeness) in self.corpus.index.likeness(ranked.passage) {
            let most = &mut self.likeness[other as usize];
            *most = most.max(likeness);
        }
    }

    fn finish(mut self, plan: &Plan) -> Assignment {
        let ranks = self.ranks();
        let keys =
            plan.chapters.iter().flat_map(|chapter| &chapter.sections).map(|section| section.key.clone());
        let sections = keys
            .zip(&self.slots)
            .map(|(key, slot)| SectionRuns { key, runs: self.runs(slot, &ranks) })
            .collect();
        Assignment { sections }
    }

    /// By passage: its rank if it may be left out. Sections give up their least salient passages evenly.
    fn ranks(&mut self) -> Vec<Option<u32>> {
        let mut optional: Vec<(f64, usize, u32)> = Vec::new();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            slot.chosen.sort_by(|a, b| b.cmp(a));
            let mut before = 0.0;
            for chosen in &slot.chosen {
                if before >= FIRM * slot.budget {
                    optional.push((before / slot.budget.max(1.0), at, chosen.passage));
                }
                before += f64::from(self.corpus.passages[chosen.passage as usize].characters);
            }
        }
        optional.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut ranks = vec![None; self.corpus.passages.len()];
        for (rank, (_, _, passage)) in optional.into_iter().enumerate() {
            ranks[passage as usize] = Some(rank as u32);
        }
        ranks
    }

    /// What defines comes first, then the rest in the order of the sources.
    fn runs(&self, slot: &Slot, ranks: &[Option<u32>]) -> Vec<Run> {
        let passage = |ranked: &Ranked| &self.corpus.passages[ranked.passage as usize];
        let firm = |ranked: &&Ranked| ranks[ranked.passage as usize].is_none();
        let definitions: Vec<u32> = slot
            .chosen
            .iter()
            .filter(firm)
            .filter(|ranked| passage(ranked).defining && slot.relevance[ranked.passage as usize] >= 0.4)
            .take(DEFINITIONS)
            .map(|ranked| ranked.passage)
            .collect();
        let mut order: Vec<u32> = slot.chosen.iter().map(|ranked| ranked.passage).collect();
        order.sort_by_key(|passage| (!definitions.contains(passage), *passage));
        // The line that opens a section has to stay, so what it introduces must not be trimmed.
        if let Some(firm) = order.iter().position(|passage| ranks[*passage as usize].is_none()) {
            order[..=firm].rotate_right(1);
        }
        let mut runs: Vec<Run> = Vec::new();
        let mut last: Option<(u32, u32)> = None;
        for id in order {
            let passage = &self.corpus.passages[id as usize];
            let sentences = passage.first..passage.first + passage.count;
            let joins = last.is_some_and(|(before, characters)| {
                before + 1 == id
                    && passage.follows
                    && ranks[id as usize].is_none()
                    && ranks[before as usize].is_none()
                    && characters + passage.characters <= MERGED_CHARACTERS
            });
            match runs.last_mut().filter(|_| joins) {
                Some(run) => {
                    run.sentences.extend(sentences);
                    last = last.map(|(_, characters)| (id, characters + passage.characters));
                }
                None => {
                    runs.push(Run { sentences: sentences.collect(), optional: ranks[id as usize] });
                    last = Some((id, passage.characters));
                }
            }
        }
        runs
    }
}
