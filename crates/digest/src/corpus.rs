//! The customer's sources as quotable sentences, each on one page.

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use crate::bm25::Index;
use crate::duplicates::Seen;
use crate::layout::running_text;
use crate::lexicon::{self, Ear, Words};
use crate::paragraphs::{Kind, Paragraph, paragraphs};
use crate::sentences::{Candidate, candidates};
use crate::standing::{is_defining, standing};
use crate::verbatim::normalise_page;

/// A source as its text was extracted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceText {
    pub id: String,
    pub title: String,
    /// `pages[i]` is page `i + 1`.
    pub pages: Vec<String>,
    /// `false` for formats without pages of their own (DOCX, plain text, Markdown): cited without a page.
    pub has_pages: bool,
}

/// What a source is called in running text: the first heading of a structured file, else the words of the file's
/// name.
pub fn source_title(file_name: &str, pages: &[String], has_pages: bool) -> String {
    let text = pages.first().filter(|_| !has_pages);
    let heading = text.and_then(|text| text.lines().find_map(|line| line.strip_prefix("# "))).map(str::trim);
    if let Some(heading) = heading.filter(|heading| !heading.is_empty()) {
        return heading.to_owned();
    }
    let stem = file_name.rsplit_once('.').map_or(file_name, |(stem, _)| stem);
    let words: Vec<&str> = stem.split(|mark: char| mark.is_whitespace() || "-_".contains(mark)).collect();
    let name = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().collect::<String>()).unwrap_or_default();
    first + letters.as_str()
}

/// Everything that can be quoted from a set of sources, and where it stands.
pub struct Corpus {
    pub(crate) sources: Vec<Source>,
    pub(crate) sentences: Vec<Sentence>,
    pub(crate) passages: Vec<Passage>,
    pub(crate) headings: Vec<Heading>,
    pub(crate) index: Index,
    language: String,
}

pub(crate) struct Source {
    pub id: String,
    pub title: String,
    pub pages: usize,
    pub has_pages: bool,
    pub language: &'static str,
}

pub(crate) struct Sentence {
    pub source: u32,
    /// Counted from 0.
    pub page: u32,
    pub text: String,
}

/// One to six sentences that follow each other in one paragraph: what is selected and quoted as a whole.
pub(crate) struct Passage {
    pub source: u32,
    pub first: u32,
    pub count: u32,
    pub characters: u32,
    /// How well it reads by itself, 0 to 1.
    pub standing: f64,
    /// It says what something is.
    pub defining: bool,
    /// It stands directly after the passage before it.
    pub follows: bool,
}

pub(crate) struct Heading {
    pub source: u32,
    pub level: u8,
    pub text: String,
    /// The passages below it, up to the next heading.
    pub passages: std::ops::Range<u32>,
}

const SENTENCES: usize = 6;
const CHARACTERS: usize = 900;

impl Corpus {
    /// Reads the sources. The same sources in the same order give the same corpus with the same sentence ids.
    pub fn build(sources: &[SourceText]) -> Self {
        let mut reader = Reader::new();
        for source in sources {
            reader.read(source);
        }
        let Reader { sources, sentences, passages, headings, characters, .. } = reader;
        let mut above = vec![""; passages.len()];
        for heading in &headings {
            above[heading.passages.start as usize..heading.passages.end as usize].fill(heading.text.as_str());
        }
        let index = Index::build(passages.iter().zip(above).map(|(passage, heading)| {
            (sources[passage.source as usize].language, text_of(&sentences, passage), heading)
        }));
        let language = dominant(&sources, &characters).to_owned();
        Self { sources, sentences, passages, headings, index, language }
    }

    /// The language of most of the quotable text, as a two-letter code; `en` for an empty corpus.
    pub fn language(&self) -> &str {
        &self.language
    }

    /// How many sentences can be quoted.
    pub fn sentence_count(&self) -> usize {
        self.sentences.len()
    }

    pub(crate) fn text(&self, passage: &Passage) -> String {
        text_of(&self.sentences, passage)
    }
}

fn text_of(sentences: &[Sentence], passage: &Passage) -> String {
    let range = passage.first as usize..(passage.first + passage.count) as usize;
    sentences[range].iter().map(|sentence| sentence.text.as_str()).collect::<Vec<_>>().join(" ")
}

fn dominant(sources: &[Source], characters: &[u64]) -> &'static str {
    let mut totals: Vec<(&'static str, u64)> = Vec::new();
    for (source, characters) in sources.iter().zip(characters) {
        match totals.iter_mut().find(|(language, _)| *language == source.language) {
            Some(total) => total.1 += characters,
            None => totals.push((source.language, *characters)),
        }
    }
    // The first of equals: `max_by_key` would take the last.
    totals.iter().rev().max_by_key(|(_, total)| *total).map_or("en", |(language, _)| language)
}

struct Reader {
    sources: Vec<Source>,
    sentences: Vec<Sentence>,
    passages: Vec<Passage>,
    headings: Vec<Heading>,
    characters: Vec<u64>,
    seen: Seen,
    ear: Ear,
}

/// What stays the same while one source is read.
struct Frame {
    source: u32,
    language: &'static str,
    words: Words,
    cyrillic: bool,
    /// Each page as it is compared with quotations.
    pages: Vec<String>,
}

impl Reader {
    fn new() -> Self {
        Self {
            sources: Vec::new(),
            sentences: Vec::new(),
            passages: Vec::new(),
            headings: Vec::new(),
            characters: Vec::new(),
            seen: Seen::default(),
            ear: Ear::new(),
        }
    }

    fn read(&mut self, source: &SourceText) {
        let paragraphs = paragraphs(&running_text(&source.pages), !source.has_pages);
        let sample = sample(&paragraphs);
        let language = whatlang::detect_lang(&sample).map_or("en", lexicon::code);
        let frame = Frame {
            source: self.sources.len() as u32,
            language,
            words: lexicon::words(language),
            cyrillic: is_cyrillic(&sample),
            pages: source.pages.iter().map(|page| normalise_page(page)).collect(),
        };
        self.sources.push(Source {
            id: source.id.clone(),
            title: source.title.clone(),
            pages: source.pages.len(),
            has_pages: source.has_pages,
            language,
        });
        let before = self.passages.len();
        let own_headings = self.headings.len();
        for paragraph in &paragraphs {
            match paragraph.kind {
                Kind::Heading(level) => self.heading(&frame, paragraph, level, own_headings),
                Kind::Prose | Kind::Item => self.paragraph(&frame, paragraph),
            }
        }
        self.close_heading(own_headings);
        self.characters
            .push(self.passages[before..].iter().map(|passage| u64::from(passage.characters)).sum());
    }

    fn heading(&mut self, frame: &Frame, paragraph: &Paragraph, level: u8, own: usize) {
        self.close_heading(own);
        let first = self.passages.len() as u32;
        if is_cyrillic(&paragraph.text) == frame.cyrillic {
            self.headings.push(Heading {
                source: frame.source,
                level,
                text: paragraph.text.clone(),
                passages: first..first,
            });
        }
    }

    fn close_heading(&mut self, own: usize) {
        let end = self.passages.len() as u32;
        if let Some(last) =
            self.headings[own..].last_mut().filter(|last| last.passages.end == last.passages.start)
        {
            last.passages.end = end;
        }
    }

    fn paragraph(&mut self, frame: &Frame, paragraph: &Paragraph) {
        if is_foreign(frame, &self.ear, &paragraph.text) {
            return;
        }
        let mut run: Vec<Candidate<'_>> = Vec::new();
        let mut runs = Vec::new();
        for (place, candidate) in candidates(&paragraph.text, &frame.words).into_iter().enumerate() {
            let tail = place == 0 && paragraph.carried_over;
            let quotable = candidate.fit && !tail && !self.is_repeated(candidate.text);
            if !quotable || !candidate.follows || run.is_empty() {
                runs.push(std::mem::take(&mut run));
            }
            if quotable && !(run.is_empty() && candidate.leaning) {
                run.push(candidate);
            }
        }
        runs.push(run);
        for run in runs.iter().filter(|run| !run.is_empty()) {
            let mut follows = false;
            for chunk in chunks(run) {
                follows = self.passage(frame, paragraph, chunk, follows);
            }
        }
    }

    fn is_repeated(&mut self, text: &str) -> bool {
        let lower = text.to_lowercase();
        self.seen.before(&lower.unicode_words().collect::<Vec<_>>())
    }

    /// Adds a passage if it can stand alone; says whether it did.
    fn passage(
        &mut self,
        frame: &Frame,
        paragraph: &Paragraph,
        chunk: &[Candidate<'_>],
        follows: bool,
    ) -> bool {
        // A question whose answer is not quoted leads nowhere.
        let kept = chunk.iter().rposition(|one| !one.text.ends_with('?')).map_or(0, |last| last + 1);
        let chunk = &chunk[..kept];
        let text = chunk.iter().map(|one| one.text).collect::<Vec<_>>().join(" ");
        let words = text.unicode_words().count();
        let least = if paragraph.kind == Kind::Item { 10 } else { 8 };
        // The promise is checked here, once, against the page itself; what fails it is never quoted.
        if words < least || !frame.pages[paragraph.page].contains(&normalise_page(&text)) {
            return false;
        }
        let first = self.sentences.len() as u32;
        self.sentences.extend(chunk.iter().map(|one| Sentence {
            source: frame.source,
            page: paragraph.page as u32,
            text: one.text.to_owned(),
        }));
        self.passages.push(Passage {
            source: frame.source,
            first,
            count: chunk.len() as u32,
            characters: text.chars().count() as u32,
            standing: standing(&text, chunk.len(), paragraph.kind, &frame.words),
            defining: is_defining(chunk[0].text, &frame.words),
            follows,
        });
        kept > 0
    }
}

/// Parts of a run of at most [`SENTENCES`], none opening with a sentence that leans on the one before.
fn chunks<'a, 'b>(run: &'a [Candidate<'b>]) -> Vec<&'a [Candidate<'b>]> {
    let mut out = Vec::new();
    let (mut start, mut characters) = (0, 0);
    for (at, candidate) in run.iter().enumerate() {
        let length = candidate.text.chars().count();
        let full = at - start >= SENTENCES || characters + length > CHARACTERS && at - start >= 2;
        if full && at > start {
            // A leaning sentence would open the next part: then the cut comes before the last firm one.
            let firm = (start + 1..=at).rev().find(|at| !run[*at].leaning);
            let cut = firm.unwrap_or(at);
            out.push(&run[start..cut]);
            characters = run[cut..at].iter().map(|one| one.text.chars().count()).sum();
            start = cut;
        }
        characters += length;
    }
    out.push(&run[start..]);
    out.retain(|part| !part.is_empty() && !part[0].leaning);
    out
}

fn sample(paragraphs: &[Paragraph]) -> String {
    let mut sample = String::new();
    for paragraph in paragraphs.iter().filter(|paragraph| paragraph.kind == Kind::Prose) {
        sample.push_str(&paragraph.text);
        sample.push('\n');
        if sample.len() > 40_000 {
            break;
        }
    }
    sample
}

fn is_cyrillic(text: &str) -> bool {
    let cyrillic = text.chars().filter(|c| matches!(c, '\u{400}'..='\u{52f}')).count();
    cyrillic * 2 > text.chars().filter(|c| c.is_alphabetic()).count()
}

/// A paragraph left in another language than its source's (an untranslated part, a quotation).
fn is_foreign(frame: &Frame, ear: &Ear, text: &str) -> bool {
    if is_cyrillic(text) != frame.cyrillic {
        return true;
    }
    ear.hears_another(text, frame.language)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(pages: &[&str]) -> SourceText {
        SourceText {
            id: "s".into(),
            title: "Tides".into(),
            pages: pages.iter().map(|page| (*page).to_owned()).collect(),
            has_pages: true,
        }
    }

    #[test]
    fn a_source_is_called_by_its_heading_or_by_the_words_of_its_file_name() {
        let pages = ["# Paper mills\n\nText".to_owned()];
        assert_eq!(source_title("mills-2.md", &pages, false), "Paper mills");
        assert_eq!(source_title("the-making_of paper.pdf", &pages, true), "The making of paper");
        assert_eq!(source_title("README", &[], false), "README");
    }

    #[test]
    fn a_sentence_over_a_page_break_is_left_out() {
        let first = "The sea rises twice on every day of the year. The moon is what pulls the water towards";
        let second = "The Shetland coast in the far north. Fishermen wait for the flood in every harbour.";
        let corpus = Corpus::build(&[source(&[first, second])]);
        let texts: Vec<&str> = corpus.sentences.iter().map(|sentence| sentence.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "The sea rises twice on every day of the year.",
                "Fishermen wait for the flood in every harbour."
            ]
        );
        assert_eq!(corpus.sentences[1].page, 1);
    }

    #[test]
    fn a_leaning_sentence_is_taken_only_with_the_one_before_it() {
        let text = "However, the sea falls again after the noon bell. The moon pulls the water of every sea. \
                    It does so twice on every day of the year.";
        let corpus = Corpus::build(&[source(&[text])]);
        assert_eq!(corpus.passages.len(), 1);
        assert!(corpus.text(&corpus.passages[0]).starts_with("The moon"));
        assert_eq!(corpus.passages[0].count, 2);
    }

    #[test]
    fn a_sentence_in_two_sources_is_kept_once() {
        let text = "The moon pulls the water of every sea on the globe towards itself.";
        let other = SourceText { id: "t".into(), ..source(&[text]) };
        assert_eq!(Corpus::build(&[source(&[text]), other]).sentence_count(), 1);
    }

    #[test]
    fn nothing_to_read_is_an_empty_corpus() {
        let corpus = Corpus::build(&[source(&["", "  \n 12 \n"])]);
        assert_eq!(corpus.sentence_count(), 0);
        assert_eq!(corpus.language(), "en");
        assert_eq!(corpus.capacity(&crate::PageMetrics::default()).max_pages, 0);
    }
}
