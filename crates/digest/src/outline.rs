//! Topics for an outline out of the sources' own headings.

use std::collections::BTreeSet;

use crate::Corpus;
use crate::corpus::Heading;
use crate::lexicon;
use crate::paragraphs::UNKNOWN_LEVEL;
use crate::stems::Stems;

/// A heading, merged with those that say the same in other sources.
#[derive(Debug, Clone)]
pub struct Topic {
    pub title: String,
    pub stems: BTreeSet<String>,
    /// Everything below the heading, lower headings included.
    pub passages: Vec<u32>,
    /// Where it stands in its source, 0 to 1.
    pub position: f64,
    pub children: Vec<Topic>,
}

/// Shared part of two headings' stems from which they are one topic.
const SAME: f64 = 0.6;
const TITLE_WORDS: usize = 12;
const TITLE_CHARACTERS: usize = 80;
/// With fewer numbered or marked headings than this, title-like lines are taken for headings too.
const STRUCTURED: usize = 3;

impl Topic {
    /// Characters of quotable text below the heading.
    pub fn material(&self, corpus: &Corpus) -> u64 {
        self.passages.iter().map(|passage| u64::from(corpus.passages[*passage as usize].characters)).sum()
    }
}

/// The topics of all sources written in the corpus's language, each once, with their sub-topics.
pub fn topics(corpus: &Corpus) -> Vec<Topic> {
    let stems = Stems::new(corpus.language());
    let mut topics: Vec<Topic> = Vec::new();
    for (at, source) in corpus.sources.iter().enumerate() {
        if source.language != corpus.language() {
            continue;
        }
        let own: Vec<&Heading> =
            corpus.headings.iter().filter(|heading| heading.source as usize == at).collect();
        for topic in of_source(&own, &stems) {
            merge(&mut topics, topic);
        }
    }
    topics
}

/// Whether a heading can stand as a title in another document.
pub fn is_telling(title: &str, stems: &Stems) -> bool {
    let lower = title.to_lowercase();
    let words = title.split_whitespace().count();
    let letters = title.chars().filter(|c| c.is_alphabetic()).count();
    let sentences = title.matches(". ").count() + title.matches("? ").count();
    (1..=TITLE_WORDS).contains(&words)
        && title.chars().count() <= TITLE_CHARACTERS
        && letters >= 4
        && letters * 10 >= title.chars().count() * 6
        && sentences == 0
        && !title.contains(['=', '\\', '<', '{', '$', '\u{300}', '”', '_', '@'])
        && !title.split_whitespace().any(|word| word.starts_with('/') || word.contains("//"))
        && !lexicon::lists(lexicon::GENERIC, lower.trim_end_matches(['?', '.', ':']))
        && !lexicon::lists(lexicon::BACK_MATTER, &lower)
        && !stems.of(title).is_empty()
}

fn of_source(headings: &[&Heading], stems: &Stems) -> Vec<Topic> {
    let structured = headings.iter().filter(|heading| heading.level != UNKNOWN_LEVEL).count() >= STRUCTURED;
    let headings: Vec<&&Heading> =
        headings.iter().filter(|heading| !structured || heading.level != UNKNOWN_LEVEL).collect();
    let Some(end) = headings.last().map(|last| last.passages.end) else {
        return Vec::new();
    };
    let levels: BTreeSet<u8> = headings.iter().map(|heading| heading.level).collect();
    // A level with one heading is the source's own title.
    let count = |level: u8| headings.iter().filter(|heading| heading.level == level).count();
    let Some(top) = levels.iter().copied().find(|level| count(*level) > 1) else {
        return Vec::new();
    };
    let below = levels.iter().copied().find(|level| *level > top);
    let mut topics: Vec<Topic> = Vec::new();
    for (at, heading) in headings.iter().enumerate() {
        let until = |level: u8| {
            let next = headings[at + 1..].iter().find(|next| next.level <= level);
            next.map_or(end, |next| next.passages.start)
        };
        let topic = |level: u8| Topic {
            title: cleaned(&heading.text),
            stems: stems.of(&heading.text).into_iter().collect(),
            passages: (heading.passages.start..until(level)).collect(),
            position: f64::from(heading.passages.start) / f64::from(end.max(1)),
            children: Vec::new(),
        };
        if heading.level == top {
            topics.push(topic(top));
        } else if Some(heading.level) == below
            && let Some(parent) = topics.last_mut()
        {
            parent.children.push(topic(heading.level));
        }
    }
    for topic in &mut topics {
        topic.children.retain(|child| is_telling(&child.title, stems));
    }
    topics.retain(|topic| is_telling(&topic.title, stems) && !topic.passages.is_empty());
    topics
}

fn cleaned(title: &str) -> String {
    title.trim_end_matches([':', '.', ' ', ',', ';']).trim_matches(['*', '`']).to_owned()
}

fn merge(topics: &mut Vec<Topic>, topic: Topic) {
    let Some(known) = topics.iter_mut().find(|known| likeness(&known.stems, &topic.stems) >= SAME) else {
        topics.push(topic);
        return;
    };
    known.passages.extend(topic.passages);
    known.passages.sort_unstable();
    known.passages.dedup();
    known.position = known.position.min(topic.position);
    for child in topic.children {
        merge(&mut known.children, child);
    }
}

/// Jaccard index of two sets of stems.
fn likeness(one: &BTreeSet<String>, other: &BTreeSet<String>) -> f64 {
    let shared = one.intersection(other).count();
    shared as f64 / (one.len() + other.len() - shared).max(1) as f64
}
