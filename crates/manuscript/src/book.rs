//! The types of the tree.

use serde::{Deserialize, Serialize};

/// A whole document, ready to be rendered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Book {
    pub meta: Meta,
    pub chapters: Vec<Chapter>,
    /// In the order of first citation. Empty: no references chapter is printed.
    #[serde(default)]
    pub references: Vec<Reference>,
}

/// What the title page and the file's metadata say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    pub title: String,
    #[serde(default)]
    pub subtitle: Option<String>,
    /// BCP 47 primary language subtag in lower case: `en`, `de`, `ru`.
    pub language: String,
    /// RFC 3339 date (`2026-11-23`): fixed by the caller, so that the same book gives the same bytes.
    pub date: String,
    /// How the text was made, in one sentence, printed on the title page and kept in the file's metadata.
    pub disclosure: String,
}

/// A numbered top-level heading with its sections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chapter {
    pub title: String,
    pub sections: Vec<Section>,
}

/// The unit of writing: one checkpoint each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// `None`: the blocks stand directly below the chapter's heading.
    #[serde(default)]
    pub title: Option<String>,
    pub blocks: Vec<Block>,
}

/// One block of a section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// A heading inside a section; `level` 1 is the highest one allowed there (printed below the section's own).
    Heading {
        level: u8,
        text: String,
    },
    Paragraph {
        inlines: Vec<Inline>,
        /// `Some(n)`: may be left out to meet the page count; the highest `n` of the book goes first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        optional: Option<u32>,
    },
    /// A word-for-word quotation, set apart, with where it stands.
    Quote {
        text: String,
        cite: Cite,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        optional: Option<u32>,
    },
    List {
        ordered: bool,
        items: Vec<Vec<Inline>>,
    },
    Code {
        text: String,
    },
    Table {
        header: Vec<Vec<Inline>>,
        rows: Vec<Vec<Vec<Inline>>>,
    },
}

/// A run of text inside a paragraph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Inline {
    Text { text: String },
    Emphasis { text: String },
    Strong { text: String },
    Code { text: String },
    Link { text: String, url: String },
    Cite { cite: Cite },
}

/// Points to a source and, where it has pages, to the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cite {
    /// [`Reference::id`].
    pub source: String,
    /// Counted from 1; `None` for sources without pages.
    #[serde(default)]
    pub page: Option<u32>,
}

/// An entry of the references chapter. Printed as `[n] text`, `n` being its place in [`Book::references`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub id: String,
    pub text: String,
}

impl Block {
    /// The rank by which the block may be left out, if it may.
    pub fn optional(&self) -> Option<u32> {
        match self {
            Self::Paragraph { optional, .. } | Self::Quote { optional, .. } => *optional,
            Self::Heading { .. } | Self::List { .. } | Self::Code { .. } | Self::Table { .. } => None,
        }
    }
}

impl Book {
    /// The same book without the blocks whose rank is `limit` or more, and without references that
    /// nothing cites any longer.
    pub fn without_optional_from(&self, limit: u32) -> Self {
        let mut book = self.clone();
        for section in book.chapters.iter_mut().flat_map(|chapter| chapter.sections.iter_mut()) {
            section.blocks.retain(|block| block.optional().is_none_or(|rank| rank < limit));
        }
        let cited = book.cited_sources();
        book.references.retain(|reference| cited.contains(reference.id.as_str()));
        book
    }

    fn cited_sources(&self) -> std::collections::HashSet<String> {
        let blocks =
            self.chapters.iter().flat_map(|chapter| &chapter.sections).flat_map(|section| &section.blocks);
        blocks.flat_map(Block::cites).map(|cite| cite.source.clone()).collect()
    }
}

impl Block {
    /// Every citation inside the block, in reading order.
    pub fn cites(&self) -> Vec<&Cite> {
        fn of(inlines: &[Inline]) -> impl Iterator<Item = &Cite> {
            inlines.iter().filter_map(|inline| match inline {
                Inline::Cite { cite } => Some(cite),
                _ => None,
            })
        }
        match self {
            Self::Heading { .. } | Self::Code { .. } => Vec::new(),
            Self::Paragraph { inlines, .. } => of(inlines).collect(),
            Self::Quote { cite, .. } => vec![cite],
            Self::List { items, .. } => items.iter().flat_map(|item| of(item)).collect(),
            Self::Table { header, rows } => {
                header.iter().chain(rows.iter().flatten()).flat_map(|cell| of(cell)).collect()
            }
        }
    }
}

/// Whether a renderer may make the address clickable: other schemes could run code in the reader.
pub fn is_web_address(url: &str) -> bool {
    ["https://", "http://", "mailto:"].iter().any(|scheme| {
        url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && url.len() > scheme.len()
    })
}
