//! Okapi BM25 over passages, and their likeness to each other.

use std::collections::{BTreeMap, HashMap};

use crate::stems::Stems;

/// Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// Terms by which two passages are compared.
const SIGNATURE: usize = 16;

/// Terms of a query by number, with weights.
pub type Query = BTreeMap<u32, f64>;

/// An inverted index of passages.
pub struct Index {
    terms: HashMap<String, u32>,
    names: Vec<String>,
    /// By term: passage and how often it stands there.
    postings: Vec<Vec<(u32, u32)>>,
    lengths: Vec<u32>,
    average: f64,
    /// By passage: its most telling terms, as a vector of length one.
    signatures: Vec<Vec<(u32, f64)>>,
    /// By term: the passages with it in their signature.
    signed: Vec<Vec<(u32, f64)>>,
    languages: Vec<(String, Stems)>,
}

impl Index {
    /// Takes each passage's language, text and the heading it stands below. A heading makes its passages findable
    /// by words that they do not repeat, but does not make them alike.
    pub fn build<'a>(documents: impl Iterator<Item = (&'a str, String, &'a str)>) -> Self {
        let mut index = Self {
            terms: HashMap::new(),
            names: Vec::new(),
            postings: Vec::new(),
            lengths: Vec::new(),
            average: 0.0,
            signatures: Vec::new(),
            signed: Vec::new(),
            languages: Vec::new(),
        };
        let mut counted: Vec<BTreeMap<u32, u32>> = Vec::new();
        for (language, text, heading) in documents {
            let stems = index.stems(language).of(&text);
            let heading = index.stems(language).of(heading);
            index.lengths.push(stems.len() as u32);
            let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
            for stem in stems {
                *counts.entry(index.intern(stem)).or_default() += 1;
            }
            let passage = counted.len() as u32;
            counted.push(counts.clone());
            for stem in heading {
                *counts.entry(index.intern(stem)).or_default() += 1;
            }
            for (term, count) in &counts {
                index.postings[*term as usize].push((passage, *count));
            }
        }
        index.average =
            index.lengths.iter().map(|n| f64::from(*n)).sum::<f64>() / index.lengths.len().max(1) as f64;
        index.sign(&counted);
        index
    }

    /// The query that `text` makes, every word in every language of the corpus, added to `query`.
    pub fn add(&self, query: &mut Query, text: &str, weight: f64) {
        let mut found: BTreeMap<u32, f64> = BTreeMap::new();
        for (_, stems) in &self.languages {
            for stem in stems.of(text) {
                if let Some(term) = self.terms.get(&stem) {
                    found.insert(*term, weight);
                }
            }
        }
        for (term, weight) in found {
            *query.entry(term).or_default() += weight;
        }
    }

    /// Every passage's score.
    pub fn scores(&self, query: &Query) -> Vec<f64> {
        let mut scores = vec![0.0; self.lengths.len()];
        for (term, weight) in query {
            let rarity = self.rarity(*term);
            for (passage, count) in &self.postings[*term as usize] {
                let length = f64::from(self.lengths[*passage as usize]) / self.average.max(1.0);
                let count = f64::from(*count);
                scores[*passage as usize] +=
                    weight * rarity * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length));
            }
        }
        scores
    }

    /// Likeness of `passage` to every passage that shares a telling term with it: cosine, 0 to 1.
    pub fn likeness(&self, passage: u32) -> BTreeMap<u32, f64> {
        let mut likeness: BTreeMap<u32, f64> = BTreeMap::new();
        for (term, weight) in &self.signatures[passage as usize] {
            for (other, theirs) in &self.signed[*term as usize] {
                *likeness.entry(*other).or_default() += weight * theirs;
            }
        }
        likeness
    }

    pub fn signature(&self, passage: u32) -> &[(u32, f64)] {
        &self.signatures[passage as usize]
    }

    /// How rare a term is: the logarithm in BM25, never negative.
    pub fn rarity(&self, term: u32) -> f64 {
        let total = self.lengths.len() as f64;
        let with = self.postings[term as usize].len() as f64;
        ((total - with + 0.5) / (with + 0.5) + 1.0).ln()
    }

    pub fn term(&self, stem: &str) -> Option<u32> {
        self.terms.get(stem).copied()
    }

    pub fn terms(&self) -> usize {
        self.names.len()
    }

    /// The stems of a language of the corpus.
    pub fn stems_of(&self, language: &str) -> &Stems {
        let known = self.languages.iter().find(|(known, _)| known == language);
        &known.expect("every passage's language was indexed").1
    }

    fn stems(&mut self, language: &str) -> &Stems {
        let at = self.languages.iter().position(|(known, _)| known == language).unwrap_or_else(|| {
            self.languages.push((language.to_owned(), Stems::new(language)));
            self.languages.len() - 1
        });
        &self.languages[at].1
    }

    fn intern(&mut self, stem: String) -> u32 {
        if let Some(term) = self.terms.get(&stem) {
            return *term;
        }
        let term = self.names.len() as u32;
        self.names.push(stem.clone());
        self.terms.insert(stem, term);
        self.postings.push(Vec::new());
        term
    }

    fn sign(&mut self, counted: &[BTreeMap<u32, u32>]) {
        self.signed = vec![Vec::new(); self.names.len()];
        for (passage, counts) in counted.iter().enumerate() {
            let mut weights: Vec<(u32, f64)> = counts
                .iter()
                .map(|(term, count)| (*term, (1.0 + f64::from(*count).ln()) * self.rarity(*term)))
                .collect();
            weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            weights.truncate(SIGNATURE);
            let length = weights.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
            for (term, weight) in &mut weights {
                *weight /= length.max(f64::MIN_POSITIVE);
                self.signed[*term as usize].push((passage as u32, *weight));
            }
            self.signatures.push(weights);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cyrillic_query_finds_the_cyrillic_passage() {
        let texts = ["Пакеты устанавливаются с сервера.", "Ядро управляет памятью.", "The kernel rests."];
        let index = Index::build(
            texts.iter().zip(["ru", "ru", "en"]).map(|(text, language)| (language, (*text).to_owned(), "")),
        );
        let mut query = Query::new();
        index.add(&mut query, "управление ядром", 1.0);
        let scores = index.scores(&query);
        assert!(scores[1] > 0.0 && scores[1] > scores[0] && scores[2] == 0.0, "{scores:?}");
    }

    #[test]
    fn a_passage_is_most_like_itself() {
        let texts = ["The tide turns at noon.", "The tide turns at night.", "A castle has towers."];
        let index = Index::build(texts.iter().map(|text| ("en", (*text).to_owned(), "")));
        let likeness = index.likeness(0);
        assert!((likeness[&0] - 1.0).abs() < 1e-9);
        assert!(likeness[&1] > 0.0 && likeness[&1] < 1.0);
        assert!(!likeness.contains_key(&2));
    }
}
