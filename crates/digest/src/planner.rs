//! Where chapters and sections come from: the customer's outline, the sources' headings, or groups of like passages.

use std::collections::BTreeSet;

use crate::Corpus;
use crate::bm25::Query;
use crate::capacity::PageMetrics;
use crate::cluster::{clusters, telling_words};
use crate::outline::{Topic, topics};
use crate::plan::PlanRequest;
use crate::stems::Stems;

/// Pages of a section, on average.
const SECTION_PAGES: f64 = 2.2;
const SECTIONS_PER_CHAPTER: usize = 4;
pub const QUERY_TERMS: usize = 10;
/// Passages that stand for what a customer's title means in these sources.
pub const FEEDBACK: usize = 6;

/// A chapter before its budget.
pub struct DraftChapter {
    pub title: String,
    pub sections: Vec<Draft>,
}

/// A section before its budget.
pub struct Draft {
    pub title: Option<String>,
    pub terms: Vec<String>,
    /// Characters of text on it: sections with more get more of the budget.
    pub material: f64,
}

/// Drafts outlines of one corpus for one request.
pub struct Planner<'a> {
    corpus: &'a Corpus,
    /// Of every passage for the title and the description, 0 to 1.
    relevance: Vec<f64>,
    /// How many sections the pages ask for.
    wanted: usize,
    /// Characters of a section, on average.
    size: f64,
    topics: Vec<Topic>,
    /// The title's stems.
    title: BTreeSet<String>,
}

impl<'a> Planner<'a> {
    pub fn new(corpus: &'a Corpus, request: &PlanRequest<'_>, metrics: &PageMetrics) -> Self {
        let mut query = Query::new();
        corpus.index.add(&mut query, request.title, 1.0);
        corpus.index.add(&mut query, request.description, 0.5);
        let mut relevance = corpus.index.scores(&query);
        let best = relevance.iter().copied().fold(0.0, f64::max);
        for (score, passage) in relevance.iter_mut().zip(&corpus.passages) {
            // A title that shares no word with the sources leaves every passage equally near.
            *score = if best > 0.0 { *score / best * passage.standing } else { passage.standing };
        }
        let wanted = (f64::from(metrics.body_pages(request.target_pages)) / SECTION_PAGES).round().max(1.0);
        let size = metrics.budget(request.target_pages) as f64 / wanted;
        let title = Stems::new(corpus.language()).of(request.title).into_iter().collect();
        Self { corpus, relevance, wanted: wanted as usize, size, topics: topics(corpus), title }
    }

    pub fn chapters_of_sources(&self) -> Vec<DraftChapter> {
        let per_chapter = self.wanted.div_ceil(4).clamp(1, SECTIONS_PER_CHAPTER);
        let headings = self.chapters_of_headings(per_chapter);
        let count = |drafts: &[DraftChapter]| drafts.iter().map(|draft| draft.sections.len()).sum::<usize>();
        if count(&headings) >= self.wanted {
            return headings;
        }
        let fuller = self.chapters_of_headings(SECTIONS_PER_CHAPTER);
        // Fewer, longer sections with real headings read better than clusters, unless there are far too few.
        if count(&fuller) * 2 >= self.wanted { fuller } else { self.chapters_of_clusters() }
    }

    fn chapters_of_headings(&self, per_chapter: usize) -> Vec<DraftChapter> {
        let mut ranked: Vec<(f64, &Topic)> =
            self.topics.iter().map(|topic| (self.score(topic), topic)).collect();
        ranked.retain(|(_, topic)| topic.material(self.corpus) as f64 >= self.size * 0.4);
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.passages.cmp(&b.1.passages)));
        let mut left = self.wanted;
        let mut chosen: Vec<(f64, DraftChapter)> = Vec::new();
        for (_, topic) in ranked {
            if left == 0 {
                break;
            }
            let chapter = self.chapter(topic, per_chapter.min(left));
            left -= chapter.sections.len();
            chosen.push((topic.position, chapter));
        }
        chosen.sort_by(|a, b| a.0.total_cmp(&b.0));
        chosen.into_iter().map(|(_, chapter)| chapter).collect()
    }

    fn chapter(&self, topic: &Topic, most: usize) -> DraftChapter {
        let fits = (topic.material(self.corpus) as f64 / self.size).ceil().max(1.0) as usize;
        let mut children: Vec<(f64, &Topic)> = topic
            .children
            .iter()
            .filter(|child| child.material(self.corpus) as f64 >= self.size * 0.2)
            .map(|child| (self.score(child), child))
            .collect();
        children.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.passages.cmp(&b.1.passages)));
        children.truncate(most.min(fits));
        children.sort_by(|a, b| a.1.position.total_cmp(&b.1.position).then(a.1.passages.cmp(&b.1.passages)));
        let sections = if children.len() < 2 {
            vec![self.draft(None, &topic.passages)]
        } else {
            children.iter().map(|(_, child)| self.draft(Some(child.title.clone()), &child.passages)).collect()
        };
        DraftChapter { title: topic.title.clone(), sections }
    }

    fn draft(&self, title: Option<String>, passages: &[u32]) -> Draft {
        let material = passages
            .iter()
            .map(|passage| f64::from(self.corpus.passages[*passage as usize].characters))
            .sum();
        Draft { title, terms: telling_words(self.corpus, passages, QUERY_TERMS), material }
    }

    /// How much a topic has to say about the title, and whether there is enough of it.
    fn score(&self, topic: &Topic) -> f64 {
        let mut best: Vec<f64> =
            topic.passages.iter().map(|passage| self.relevance[*passage as usize]).collect();
        best.sort_by(|a, b| b.total_cmp(a));
        best.truncate(8);
        let relevance = best.iter().sum::<f64>() / best.len().max(1) as f64;
        let enough = (topic.material(self.corpus) as f64 / self.size).min(1.0).sqrt();
        let named = topic.stems.iter().filter(|stem| self.title.contains(*stem)).count() as f64
            / self.title.len().max(1) as f64;
        (0.1 + relevance + named) * enough
    }

    fn chapters_of_clusters(&self) -> Vec<DraftChapter> {
        let order = self.best(self.relevance.len());
        let mut taken: BTreeSet<String> = BTreeSet::new();
        if self.wanted <= 8 {
            let found = clusters(self.corpus, &order, self.wanted, &mut taken);
            return found
                .into_iter()
                .map(|c| DraftChapter { title: c.name, sections: vec![self.draft(None, &c.passages)] })
                .collect();
        }
        let found = clusters(self.corpus, &order, self.wanted.div_ceil(3), &mut taken);
        let mut chapters = Vec::new();
        for cluster in found {
            let parts = clusters(self.corpus, &cluster.passages, 3, &mut taken);
            let sections = if parts.len() < 2 {
                vec![self.draft(None, &cluster.passages)]
            } else {
                parts.into_iter().map(|part| self.draft(Some(part.name), &part.passages)).collect()
            };
            chapters.push(DraftChapter { title: cluster.name, sections });
        }
        chapters
    }

    pub fn chapters_of_customer(&self, outline: &[String]) -> Vec<DraftChapter> {
        let mut chapters: Vec<DraftChapter> = Vec::new();
        for line in outline {
            let (lower, title) = outline_line(line);
            if title.is_empty() {
                continue;
            }
            match chapters.last_mut().filter(|_| lower) {
                Some(chapter) => {
                    let query = format!("{} {title}", chapter.title);
                    chapter.sections.push(self.searched(Some(title), &query));
                }
                None => chapters.push(DraftChapter { title, sections: Vec::new() }),
            }
        }
        let leaves: usize = chapters.iter().map(|chapter| chapter.sections.len().max(1)).sum();
        let each = (self.wanted / leaves.max(1)).clamp(1, SECTIONS_PER_CHAPTER);
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for chapter in &mut chapters {
            if chapter.sections.is_empty() {
                chapter.sections = self.divided(&chapter.title, each, &mut taken);
            }
        }
        chapters
    }

    /// Sections below a customer's chapter that is too long for one: the sources' headings nearest to its title.
    fn divided(&self, title: &str, count: usize, taken: &mut BTreeSet<String>) -> Vec<Draft> {
        let mut query = Query::new();
        self.corpus.index.add(&mut query, title, 1.0);
        let scores = self.corpus.index.scores(&query);
        let own: BTreeSet<String> = Stems::new(self.corpus.language()).of(title).into_iter().collect();
        let mut found: Vec<(f64, &Topic)> = self
            .topics
            .iter()
            .flat_map(|topic| std::iter::once(topic).chain(&topic.children))
            .filter(|topic| {
                topic.material(self.corpus) as f64 >= self.size * 0.3
                    && topic.stems != own
                    && !taken.contains(&topic.title)
            })
            .map(|topic| {
                let sum: f64 = topic.passages.iter().map(|passage| scores[*passage as usize]).sum();
                (sum / topic.passages.len() as f64, topic)
            })
            .filter(|(score, _)| *score > 0.0)
            .collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.passages.cmp(&b.1.passages)));
        found.truncate(count);
        if count < 2 || found.len() < 2 {
            return vec![self.searched(None, title)];
        }
        found.sort_by(|a, b| a.1.position.total_cmp(&b.1.position).then(a.1.passages.cmp(&b.1.passages)));
        taken.extend(found.iter().map(|(_, topic)| topic.title.clone()));
        found.into_iter().map(|(_, topic)| self.draft(Some(topic.title.clone()), &topic.passages)).collect()
    }

    /// A section known by its title only: its words and those of the passages they find.
    fn searched(&self, title: Option<String>, text: &str) -> Draft {
        let mut query = Query::new();
        self.corpus.index.add(&mut query, text, 1.0);
        let scores = self.corpus.index.scores(&query);
        let mut found: Vec<u32> =
            (0..scores.len() as u32).filter(|passage| scores[*passage as usize] > 0.0).collect();
        found.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b)));
        let material = found
            .iter()
            .map(|passage| f64::from(self.corpus.passages[*passage as usize].characters))
            .sum::<f64>();
        found.truncate(FEEDBACK);
        Draft {
            title,
            terms: telling_words(self.corpus, &found, QUERY_TERMS),
            material: material.min(self.size * 2.0),
        }
    }

    /// The most relevant passages.
    pub fn best(&self, count: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.relevance.len() as u32).collect();
        order.sort_by(|a, b| {
            self.relevance[*b as usize].total_cmp(&self.relevance[*a as usize]).then(a.cmp(b))
        });
        order.truncate(count);
        order
    }
}

/// Whether a line of a customer's outline is a section of the chapter before it, and its bare title.
fn outline_line(line: &str) -> (bool, String) {
    let indented = line.starts_with([' ', '\t']);
    let trimmed = line.trim();
    let hashes = trimmed.chars().take_while(|c| *c == '#').count();
    let rest = trimmed.trim_start_matches('#').trim_start();
    let rest = rest.trim_start_matches(['-', '*', '•']).trim_start();
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(0);
    let (number, title) = rest.split_at(digits);
    // "2024 in review" is a title; "1.2 Tides" and "3. Moon" are numbered.
    let numbered = !number.is_empty() && (number.contains('.') || number.len() < 3) && title.starts_with(' ');
    let parts = number.split('.').filter(|part| !part.is_empty()).count();
    let title = if numbered { title.trim() } else { rest };
    (indented || hashes > 1 || numbered && parts > 1, title.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_line_knows_its_level() {
        assert_eq!(outline_line("1. Tides"), (false, "Tides".to_owned()));
        assert_eq!(outline_line("1.2 The moon"), (true, "The moon".to_owned()));
        assert_eq!(outline_line("  - The sun"), (true, "The sun".to_owned()));
        assert_eq!(outline_line("## The sea"), (true, "The sea".to_owned()));
        assert_eq!(outline_line("2024 in review"), (false, "2024 in review".to_owned()));
    }
}
