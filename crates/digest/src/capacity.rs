//! How many pages a corpus can honestly fill.

use serde::{Deserialize, Serialize};

use crate::Corpus;

/// What a typeset page holds. The default is measured on the A4 template in Libertinus Serif 11 pt, justified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageMetrics {
    /// Characters of quotation on a full page of a digest, with what belongs to it (citations, connecting
    /// lines, headings, space between blocks) taken into account.
    pub characters_per_page: u32,
    /// Pages that hold no quotations: title, contents, references.
    pub fixed_pages: u32,
}

impl Default for PageMetrics {
    fn default() -> Self {
        Self { characters_per_page: CHARACTERS_PER_PAGE, fixed_pages: FIXED_PAGES }
    }
}

const CHARACTERS_PER_PAGE: u32 = 2600;
const FIXED_PAGES: u32 = 3;

/// A plan asks for this much more than the body holds; the rest is optional and trimmed when the pages are counted.
pub const SURPLUS: f64 = 1.15;

/// The part of a corpus's quotable text that a digest may use. The rest is kept back so that ranking has
/// something to leave out; with all of it used, the last pages would hold whatever was left over.
const USABLE: f64 = 0.75;

/// What a corpus can fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Characters of quotable text, after the safety factor of 0.75.
    pub usable_characters: u64,
    /// The largest page count, fixed pages included, whose budget (surplus included) the text can fill.
    /// 0 when it cannot fill a single page.
    pub max_pages: u32,
}

impl PageMetrics {
    /// Pages for quotations in a document of `target_pages`; at least one.
    pub fn body_pages(&self, target_pages: u32) -> u32 {
        target_pages.saturating_sub(self.fixed_pages).max(1)
    }

    /// Characters of quotation to select for a document of `target_pages`, surplus included.
    pub fn budget(&self, target_pages: u32) -> u64 {
        (f64::from(self.body_pages(target_pages)) * f64::from(self.characters_per_page) * SURPLUS).round()
            as u64
    }
}

impl Corpus {
    /// The honest maximum: what [`crate::plan`] and [`crate::assign`] can really fill from these sources.
    pub fn capacity(&self, metrics: &PageMetrics) -> Capacity {
        let quotable: u64 = self.passages.iter().map(|passage| u64::from(passage.characters)).sum();
        let usable_characters = (quotable as f64 * USABLE) as u64;
        let body =
            (usable_characters as f64 / (f64::from(metrics.characters_per_page.max(1)) * SURPLUS)) as u32;
        Capacity { usable_characters, max_pages: if body == 0 { 0 } else { body + metrics.fixed_pages } }
    }
}
