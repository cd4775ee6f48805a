//! Finds the passages of the sources that a section needs: BM25 over pieces of pages.

use std::collections::HashMap;

use crate::peers::SourceText;

/// Characters of a passage, about.
const PASSAGE_CHARACTERS: usize = 900;
/// Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// Longer words are compared by their beginning: a stemmer for every language at once.
const STEM_CHARACTERS: usize = 6;

/// A piece of one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// Counted from 1, in the order of the sources.
    pub source: usize,
    /// Counted from 1.
    pub page: Option<usize>,
    pub text: String,
}

impl Passage {
    /// How a model shall cite it.
    pub fn marker(&self) -> String {
        match self.page {
            Some(page) => format!("[S{} p. {page}]", self.source),
            None => format!("[S{}]", self.source),
        }
    }
}

/// All passages of a document's sources, searchable.
pub struct Passages {
    passages: Vec<Passage>,
    /// How often each term stands in which passage.
    postings: HashMap<String, Vec<(usize, f64)>>,
    lengths: Vec<f64>,
    mean_length: f64,
}

impl Passages {
    pub fn build(sources: &[SourceText]) -> Self {
        let mut passages = Vec::new();
        for (source, number) in sources.iter().zip(1..) {
            for (text, page) in source.pages.iter().zip(1..) {
                let page = source.paged.then_some(page);
                passages.extend(pieces(text).into_iter().map(|text| Passage { source: number, page, text }));
            }
        }
        let mut postings: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
        let mut lengths = Vec::with_capacity(passages.len());
        for (passage, at) in passages.iter().zip(0..) {
            let mut counts: HashMap<String, f64> = HashMap::new();
            let terms = terms(&passage.text);
            lengths.push(terms.len() as f64);
            for term in terms {
                *counts.entry(term).or_default() += 1.0;
            }
            for (term, count) in counts {
                postings.entry(term).or_default().push((at, count));
            }
        }
        let mean_length = lengths.iter().sum::<f64>() / (lengths.len().max(1) as f64);
        Self { passages, postings, lengths, mean_length }
    }

    /// The best passages for a query, best first, at most `count`.
    pub fn find(&self, query: &str, count: usize) -> Vec<&Passage> {
        let mut scores: HashMap<usize, f64> = HashMap::new();
        let total = self.passages.len() as f64;
        let mut query = terms(query);
        query.sort_unstable();
        query.dedup();
        for term in query {
            let Some(places) = self.postings.get(&term) else {
                continue;
            };
            let found = places.len() as f64;
            let rarity = (1.0 + (total - found + 0.5) / (found + 0.5)).ln();
            for &(at, count) in places {
                let norm = K1 * (1.0 - B + B * self.lengths[at] / self.mean_length.max(1.0));
                *scores.entry(at).or_default() += rarity * count * (K1 + 1.0) / (count + norm);
            }
        }
        let mut ranked: Vec<(usize, f64)> = scores.into_iter().collect();
        ranked.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        ranked.into_iter().take(count).map(|(at, _)| &self.passages[at]).collect()
    }
}

/// Cuts a page at the ends of its paragraphs, or of its words where a paragraph is too long.
fn pieces(page: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for word in page.split_inclusive(char::is_whitespace) {
        piece.push_str(word);
        let length = piece.chars().count();
        let paragraph_ends = word.ends_with('\n') && length * 2 > PASSAGE_CHARACTERS;
        if paragraph_ends || length > PASSAGE_CHARACTERS {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    pieces.push(piece);
    let tidy = pieces.into_iter().map(|piece| piece.split_whitespace().collect::<Vec<_>>().join(" "));
    tidy.filter(|piece| piece.chars().any(char::is_alphanumeric)).collect()
}

fn terms(text: &str) -> Vec<String> {
    let words = text.split(|character: char| !character.is_alphanumeric());
    words
        .filter(|word| word.chars().count() > 2)
        .map(|word| word.to_lowercase().chars().take(STEM_CHARACTERS).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passages() -> Passages {
        let source = |paged, pages: &[&str]| SourceText {
            id: String::new(),
            file_name: String::new(),
            pages: pages.iter().map(|page| (*page).to_owned()).collect(),
            paged,
        };
        Passages::build(&[
            source(true, &["Paper is made from rags.", "Printing needs ink and paper."]),
            source(false, &["Книги переплетают вручную. Переплётчик шьёт тетради."]),
        ])
    }

    #[test]
    fn the_passage_with_the_rarer_words_comes_first_with_its_marker() {
        let passages = passages();
        let found = passages.find("ink for printing on paper", 5);
        assert_eq!(found[0].marker(), "[S1 p. 2]");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn other_scripts_are_found_too() {
        assert_eq!(passages().find("переплёт книга тетрадь", 1)[0].marker(), "[S2]");
    }

    #[test]
    fn long_pages_are_cut_and_nothing_is_lost() {
        let page = "слово ".repeat(1000);
        let pieces = pieces(&page);
        assert!(pieces.len() > 5);
        assert_eq!(pieces.join(" ").split(' ').count(), 1000);
    }
}
