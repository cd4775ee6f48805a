//! Turns a section's quotations into blocks, with a few connecting words of its own.

use quire_manuscript::{Block, Cite, Inline, Reference, Section};

use crate::Corpus;
use crate::assign::{Assignment, Run};
use crate::corpus::Source;
use crate::lexicon::{Phrases, phrases};
use crate::plan::Plan;
use crate::stems::stable_hash;

/// Why a section cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("the plan has no section {0}")]
    UnknownSection(String),
    /// The sources, the plan or the assignment changed since it was made.
    #[error("the assignment of section {0} does not fit the sources")]
    Mismatch(String),
}

/// Quotations of one source in a row before a connecting line names it again.
const UNNAMED: usize = 5;

/// Writes the section `key` (`1.2`). Depends on its arguments only, not on sections written before.
///
/// # Errors
/// [`DigestError`] when plan, assignment and corpus do not belong together.
pub fn write_section(
    corpus: &Corpus,
    plan: &Plan,
    assignment: &Assignment,
    key: &str,
) -> Result<Section, DigestError> {
    let planned = plan.section(key).ok_or_else(|| DigestError::UnknownSection(key.to_owned()))?;
    let runs = &assignment.section(key).ok_or_else(|| DigestError::UnknownSection(key.to_owned()))?.runs;
    let mismatch = || DigestError::Mismatch(key.to_owned());
    let phrases = phrases(&plan.language);
    let mut connector = Connector {
        phrases,
        turn: stable_hash([key, planned.title.as_deref().unwrap_or_default()]) as usize,
    };
    let mut blocks = Vec::new();
    let mut last: Option<u32> = None;
    // The source that is quoted last when everything optional is trimmed.
    let mut last_firm: Option<u32> = None;
    let mut unnamed = 0;
    for run in runs {
        let (at, quote) = quotation(corpus, run).ok_or_else(mismatch)?;
        let source = &corpus.sources[at as usize];
        let firm = run.optional.is_none();
        let choices = match last {
            None => Some(phrases.opening),
            Some(before) if before != at || firm && last_firm != Some(at) => Some(phrases.turning),
            Some(_) if unnamed >= UNNAMED => Some(phrases.continuing),
            Some(_) => None,
        };
        match choices {
            Some(choices) => {
                blocks.push(connector.line(choices, source, run.optional));
                unnamed = 1;
            }
            None => unnamed += 1,
        }
        last = Some(at);
        if firm {
            last_firm = Some(at);
        }
        blocks.push(quote);
    }
    Ok(Section { title: planned.title.clone(), blocks })
}

/// The cited sources in the order of first citation: title and number of pages.
pub fn references(corpus: &Corpus, plan: &Plan, assignment: &Assignment) -> Vec<Reference> {
    let mut order: Vec<u32> = Vec::new();
    for section in plan.chapters.iter().flat_map(|chapter| &chapter.sections) {
        for run in assignment.section(&section.key).into_iter().flat_map(|section| &section.runs) {
            let first = run.sentences.first().and_then(|id| corpus.sentences.get(*id as usize));
            if let Some(sentence) = first.filter(|sentence| !order.contains(&sentence.source)) {
                order.push(sentence.source);
            }
        }
    }
    let phrases = phrases(&plan.language);
    order.iter().map(|at| reference(&corpus.sources[*at as usize], phrases, &plan.language)).collect()
}

/// One sentence on how the text was made, in `language`; in English where there is no other.
pub fn disclosure(language: &str) -> String {
    phrases(language).disclosure.to_owned()
}

/// A run as a block, and its source. `None` if its sentences are not there or not one piece of one page.
fn quotation(corpus: &Corpus, run: &Run) -> Option<(u32, Block)> {
    let sentences: Vec<_> =
        run.sentences.iter().map(|id| corpus.sentences.get(*id as usize)).collect::<Option<_>>()?;
    let first = sentences.first()?;
    let whole =
        sentences.iter().all(|sentence| (sentence.source, sentence.page) == (first.source, first.page))
            && run.sentences.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    let source = corpus.sources.get(first.source as usize).filter(|_| whole)?;
    let text = sentences.iter().map(|sentence| sentence.text.as_str()).collect::<Vec<_>>().join(" ");
    let cite = Cite { source: source.id.clone(), page: source.has_pages.then_some(first.page + 1) };
    Some((first.source, Block::Quote { text, cite, optional: run.optional }))
}

struct Connector {
    phrases: &'static Phrases,
    turn: usize,
}

impl Connector {
    /// A connecting line that goes with its quotation when that is left out.
    fn line(&mut self, choices: &[&str], source: &Source, optional: Option<u32>) -> Block {
        let phrase = choices[self.turn % choices.len()];
        self.turn = self.turn.wrapping_add(1);
        let (open, close) = self.phrases.marks;
        let text = phrase.replace("{}", &format!("{open}{}{close}", source.title));
        Block::Paragraph { inlines: vec![Inline::Text { text }], optional }
    }
}

fn reference(source: &Source, phrases: &Phrases, language: &str) -> Reference {
    let (open, close) = phrases.marks;
    let extent = if source.has_pages {
        format!("PDF, {}", page_count(source.pages, phrases, language))
    } else {
        phrases.without_pages.to_owned()
    };
    Reference { id: source.id.clone(), text: format!("{open}{}{close}. {extent}.", source.title) }
}

/// `3 страницы`, `5 страниц`: the plural rules of CLDR for the languages with tables.
fn page_count(pages: usize, phrases: &Phrases, language: &str) -> String {
    let slavic = matches!(language, "ru" | "uk");
    let form = match (slavic, pages % 10, pages % 100) {
        (true, 1, hundred) if hundred != 11 => 0,
        (true, 2..=4, hundred) if !(12..=14).contains(&hundred) => 1,
        (true, _, _) => 2,
        (false, _, _) if pages == 1 => 0,
        (false, _, _) => 2,
    };
    phrases.pages[form].replace("{}", &pages.to_string())
}
