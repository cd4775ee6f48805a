//! Proposes chapters and sections with a budget of characters each.

use serde::{Deserialize, Serialize};

use crate::Corpus;
use crate::bm25::Query;
use crate::capacity::PageMetrics;
use crate::cluster::telling_words;
use crate::planner::{Draft, DraftChapter, FEEDBACK, Planner, QUERY_TERMS};

/// What a customer asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanRequest<'a> {
    pub title: &'a str,
    /// A topic or a description; may be empty.
    pub description: &'a str,
    /// Chapter titles in order. A line that is indented, or numbered or marked as lower (`1.2 …`, `## …`), is a
    /// section of the chapter before it. Empty: an outline is proposed.
    pub outline: &'a [String],
    /// Pages of the whole document.
    pub target_pages: u32,
    /// Two-letter code for headings' choice and connecting lines; `None`: the corpus's own.
    pub language: Option<&'a str>,
}

/// An outline with budgets. Titles may be edited before it is used; keys may not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub title: String,
    pub language: String,
    pub chapters: Vec<PlannedChapter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChapter {
    pub title: String,
    /// Never empty.
    pub sections: Vec<PlannedSection>,
}

/// The unit of writing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSection {
    /// Chapter and section counted from 1: `1.2`.
    pub key: String,
    /// `None` for the only section of a chapter, whose heading is enough.
    #[serde(default)]
    pub title: Option<String>,
    /// Words, besides the titles, by which passages are found.
    pub query_terms: Vec<String>,
    /// Characters of quotation to select, surplus included.
    pub character_budget: u32,
}

impl Plan {
    pub fn section(&self, key: &str) -> Option<&PlannedSection> {
        self.chapters.iter().flat_map(|chapter| &chapter.sections).find(|section| section.key == key)
    }

    /// The keys in the order of the document.
    pub fn keys(&self) -> Vec<&str> {
        self.chapters
            .iter()
            .flat_map(|chapter| &chapter.sections)
            .map(|section| section.key.as_str())
            .collect()
    }
}

/// Plans a document. The budgets add up to what `target_pages` hold, and 15 % more to trim.
pub fn plan(corpus: &Corpus, request: &PlanRequest<'_>, metrics: &PageMetrics) -> Plan {
    let planner = Planner::new(corpus, request, metrics);
    let mut drafts = if request.outline.iter().any(|line| !line.trim().is_empty()) {
        planner.chapters_of_customer(request.outline)
    } else {
        planner.chapters_of_sources()
    };
    drafts.retain(|draft| !draft.sections.is_empty());
    if drafts.is_empty() {
        let section = Draft {
            title: None,
            terms: telling_words(corpus, &planner.best(FEEDBACK), QUERY_TERMS),
            material: 1.0,
        };
        drafts.push(DraftChapter { title: request.title.trim().to_owned(), sections: vec![section] });
    }
    let budgets = shares(&drafts, metrics.budget(request.target_pages));
    let mut budgets = budgets.into_iter();
    let chapters = drafts.into_iter().enumerate().map(|(chapter, draft)| PlannedChapter {
        title: draft.title,
        sections: draft
            .sections
            .into_iter()
            .enumerate()
            .map(|(section, draft)| PlannedSection {
                key: format!("{}.{}", chapter + 1, section + 1),
                title: draft.title,
                query_terms: draft.terms,
                character_budget: budgets.next().unwrap_or_default(),
            })
            .collect(),
    });
    Plan {
        title: request.title.trim().to_owned(),
        language: request.language.unwrap_or(corpus.language()).to_owned(),
        chapters: chapters.collect(),
    }
}

/// What a section is searched by.
pub(crate) fn section_query(
    corpus: &Corpus,
    plan: &Plan,
    chapter: &PlannedChapter,
    section: &PlannedSection,
) -> Query {
    let mut query = Query::new();
    corpus.index.add(&mut query, &plan.title, 0.2);
    match &section.title {
        Some(title) => {
            corpus.index.add(&mut query, title, 2.0);
            corpus.index.add(&mut query, &chapter.title, 0.6);
        }
        None => corpus.index.add(&mut query, &chapter.title, 2.0),
    }
    for term in &section.query_terms {
        corpus.index.add(&mut query, term, 1.0);
    }
    query
}

/// Splits `total` by the square root of the material, none far from the mean, so that sections stay near their planned length.
fn shares(drafts: &[DraftChapter], total: u64) -> Vec<u32> {
    let roots: Vec<f64> = drafts
        .iter()
        .flat_map(|draft| &draft.sections)
        .map(|section| section.material.max(1.0).sqrt())
        .collect();
    let mean = roots.iter().sum::<f64>() / roots.len() as f64;
    let weights: Vec<f64> = roots.iter().map(|root| root.clamp(mean * 0.7, mean * 1.35)).collect();
    let sum: f64 = weights.iter().sum();
    let mut given = 0;
    let mut budgets = Vec::with_capacity(weights.len());
    for (at, weight) in weights.iter().enumerate() {
        let share =
            if at + 1 == weights.len() { total - given } else { (total as f64 * weight / sum) as u64 };
        given += share;
        budgets.push(share as u32);
    }
    budgets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_add_up_exactly() {
        let section = |material: f64| Draft { title: None, terms: Vec::new(), material };
        let drafts = vec![DraftChapter {
            title: String::new(),
            sections: vec![section(10.0), section(90_000.0), section(500.0)],
        }];
        let budgets = shares(&drafts, 10_001);
        assert_eq!(budgets.iter().sum::<u32>(), 10_001);
        assert!(budgets[1] > budgets[0] && budgets[0] > 1000);
    }
}
