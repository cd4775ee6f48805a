//! Lays a book out and writes the PDF, in the calling process.

use quire_manuscript::{Book, Labels};
use serde::Serialize;
use serde_json::Value;
use typst::diag::SourceDiagnostic;
use typst::foundations::{Bytes, Datetime, NativeElement, Smart, StyleChain};
use typst::introspection::Introspector;
use typst::model::HeadingElem;
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, Timestamp};

use crate::glyphs;
use crate::protocol::PlacedHeading;
use crate::world::{BookWorld, Stage};

/// From this many pages on, chapters begin on a new page; in shorter texts that would waste a tenth of them.
const PAGES_FOR_CHAPTER_BREAKS: u32 = 40;

/// Characters on a full page of running text; only for estimates, pages are always counted.
const CHARACTERS_PER_PAGE: usize = 3_300;

/// A finished PDF with its counted pages.
#[derive(Debug)]
pub struct Rendered {
    pub pdf: Vec<u8>,
    pub pages: u32,
    /// Chapters, titled sections and the references chapter, in reading order.
    pub headings: Vec<PlacedHeading>,
}

/// Why a book could not be typeset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("no bundled font has the character {codepoint} (near {near:?})")]
    MissingGlyph {
        /// In the form `U+4E2D`.
        codepoint: String,
        /// The text around the character.
        near: String,
    },
    #[error("the book is not valid: {0}")]
    InvalidBook(String),
    #[error("the layout failed: {}", .0.join("; "))]
    Compile(Vec<String>),
}

/// Typesets the whole book. The same book gives the same bytes.
pub fn render(book: &Book) -> Result<Rendered, RenderError> {
    let press = Press::new(book, None)?;
    press.layout(book)?.finish()
}

/// The number of pages the book is likely to fill, from its length alone.
pub(crate) fn estimated_pages(book: &Book) -> u32 {
    let blocks = book.chapters.iter().flat_map(|chapter| &chapter.sections).flat_map(|s| &s.blocks);
    let characters: usize = blocks.map(characters).sum();
    let references: usize = book.references.iter().map(|reference| reference.text.chars().count() + 60).sum();
    let sections: usize = book.chapters.iter().map(|chapter| chapter.sections.len() + 1).sum();
    // The title page, the contents (some 40 lines a page, and a heading needs space in the text as well).
    let pages = 2 + (characters + references) / CHARACTERS_PER_PAGE + sections / 12;
    u32::try_from(pages).unwrap_or(u32::MAX)
}

/// A measure of the space a block takes: its characters, and some for the space around it.
pub(crate) fn characters(block: &quire_manuscript::Block) -> usize {
    use quire_manuscript::{Block, Inline};
    fn of(inlines: &[Inline]) -> usize {
        let lengths = inlines.iter().map(|inline| match inline {
            Inline::Text { text }
            | Inline::Emphasis { text }
            | Inline::Strong { text }
            | Inline::Code { text }
            | Inline::Link { text, .. } => text.chars().count(),
            Inline::Cite { .. } => 10,
        });
        lengths.sum()
    }
    const AROUND: usize = 40;
    match block {
        Block::Heading { text, .. } => AROUND * 3 + text.chars().count(),
        Block::Paragraph { inlines, .. } => AROUND + of(inlines),
        Block::Quote { text, .. } => AROUND * 2 + text.chars().count(),
        Block::List { items, .. } => items.iter().map(|item| AROUND + of(item)).sum(),
        Block::Code { text } => text.lines().map(|line| line.chars().count().max(AROUND)).sum(),
        Block::Table { header, rows } => {
            let cells = |row: &Vec<Vec<Inline>>| AROUND + row.iter().map(|cell| of(cell)).sum::<usize>();
            cells(header) + rows.iter().map(cells).sum::<usize>()
        }
    }
}

/// The template and fonts with the decisions that hold for every layout of one book.
pub(crate) struct Press {
    stage: Stage,
    pub(crate) chapters_on_new_pages: bool,
    date: Datetime,
    ident: String,
}

/// A laid out book.
pub(crate) struct Layout<'a> {
    press: &'a Press,
    document: PagedDocument,
}

impl Press {
    pub fn new(book: &Book, target_pages: Option<u32>) -> Result<Self, RenderError> {
        let language = &book.meta.language;
        if !matches!(language.len(), 2..=3) || !language.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(RenderError::InvalidBook(format!("{language:?} is not a language subtag")));
        }
        let date = parse_date(&book.meta.date)
            .ok_or_else(|| RenderError::InvalidBook(format!("{:?} is not a date", book.meta.date)))?;
        let expected = estimated_pages(book).min(target_pages.unwrap_or(u32::MAX));
        Ok(Self {
            stage: Stage::new(),
            chapters_on_new_pages: expected >= PAGES_FOR_CHAPTER_BREAKS,
            date,
            ident: format!("quire {} {}", book.meta.date, book.meta.title),
        })
    }

    /// The same press, with chapters that begin where the one before ends.
    pub fn with_running_chapters(self) -> Self {
        Self { chapters_on_new_pages: false, ..self }
    }

    /// Lays out the book and checks the result: every character has a glyph, page numbers are final.
    pub fn layout(&self, book: &Book) -> Result<Layout<'_>, RenderError> {
        check_citations(book)?;
        let data = TemplateData {
            book: printable(book),
            labels: Labels::for_language(&book.meta.language),
            chapters_on_new_pages: self.chapters_on_new_pages,
        };
        let data = serde_json::to_vec(&data).expect("a book has only string keys");
        let world = BookWorld { stage: &self.stage, data: Bytes::new(data) };
        let compiled = typst::compile::<PagedDocument>(&world);
        let document = compiled.output.map_err(|errors| compile_error(&errors))?;
        let unstable: Vec<_> = compiled
            .warnings
            .iter()
            .filter(|warning| warning.message.contains("converge"))
            .cloned()
            .collect();
        if !unstable.is_empty() {
            return Err(compile_error(&unstable));
        }
        if let Some(missing) = glyphs::first_missing(&document) {
            let codepoint = format!("U+{:04X}", u32::from(missing.character));
            return Err(RenderError::MissingGlyph { codepoint, near: missing.near });
        }
        Ok(Layout { press: self, document })
    }
}

impl Layout<'_> {
    pub fn pages(&self) -> u32 {
        u32::try_from(self.document.pages().len()).unwrap_or(u32::MAX)
    }

    /// Writes the PDF.
    pub fn finish(&self) -> Result<Rendered, RenderError> {
        let options = PdfOptions {
            ident: Smart::Custom(self.press.ident.clone()),
            creator: Smart::Custom(Some("Quire".to_owned())),
            timestamp: Some(Timestamp::new_utc(self.press.date)),
            ..PdfOptions::default()
        };
        let pdf = typst_pdf::pdf(&self.document, &options).map_err(|errors| compile_error(&errors))?;
        Ok(Rendered { pdf, pages: self.pages(), headings: self.headings() })
    }

    fn headings(&self) -> Vec<PlacedHeading> {
        let introspector = self.document.introspector();
        let styles = StyleChain::default();
        let mut headings = Vec::new();
        for element in introspector.query(&HeadingElem::ELEM.select()) {
            let Some(heading) = element.to_packed::<HeadingElem>() else {
                continue;
            };
            let page = element.location().and_then(|location| introspector.page(location));
            let Some(page) = page.filter(|_| heading.outlined.get(styles)) else {
                continue;
            };
            headings.push(PlacedHeading {
                level: u8::try_from(heading.resolve_level(styles).get()).unwrap_or(u8::MAX),
                text: heading.body.plain_text().to_string(),
                page: u32::try_from(page.get()).unwrap_or(u32::MAX),
            });
        }
        headings
    }
}

/// What the template reads. All text of the customer and of the writer enters here, as data.
#[derive(Serialize)]
struct TemplateData {
    book: Value,
    labels: Labels,
    chapters_on_new_pages: bool,
}

/// The book as JSON, without control characters: they have no glyph and no meaning on paper.
fn printable(book: &Book) -> Value {
    let mut value = serde_json::to_value(book).expect("a book has only string keys");
    clean(&mut value);
    value
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => {
            if text.chars().any(|c| c.is_control() && c != '\n') {
                let lines = text.replace("\r\n", "\n").replace(['\r', '\u{b}', '\u{c}', '\u{85}'], "\n");
                let spaced = lines.replace('\t', " ");
                *text = spaced.chars().filter(|c| !c.is_control() || *c == '\n').collect();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn check_citations(book: &Book) -> Result<(), RenderError> {
    let known: std::collections::HashSet<&str> =
        book.references.iter().map(|reference| reference.id.as_str()).collect();
    let sections = book.chapters.iter().flat_map(|chapter| &chapter.sections);
    for cite in sections.flat_map(|section| &section.blocks).flat_map(|block| block.cites()) {
        if !known.contains(cite.source.as_str()) {
            return Err(RenderError::InvalidBook(format!(
                "the cited source {:?} is not listed",
                cite.source
            )));
        }
    }
    Ok(())
}

fn parse_date(date: &str) -> Option<Datetime> {
    let mut parts = date.get(..10)?.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    Datetime::from_ymd(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
}

fn compile_error(diagnostics: &[SourceDiagnostic]) -> RenderError {
    let message = |diagnostic: &SourceDiagnostic| {
        let hints = diagnostic.hints.iter().map(|hint| format!(" ({})", hint.v));
        diagnostic.message.to_string() + &hints.collect::<String>()
    };
    RenderError::Compile(diagnostics.iter().take(20).map(message).collect())
}
