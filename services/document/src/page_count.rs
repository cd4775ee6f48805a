//! How many pages may be ordered: the only place with the numbers.

use std::ops::RangeInclusive;

use quire_fault::Violation;
use quire_serve::settings::Settings;

use crate::spec::Kind;

/// The field that carries a page count in every request.
pub const FIELD: &str = "target_pages";

/// The bounds and defaults of both kinds of order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRule {
    document: Bounds,
    section: Bounds,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Bounds {
    accepted: RangeInclusive<i32>,
    default: i32,
}

/// A number of pages inside the bounds of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCount(i32);

impl PageCount {
    pub fn get(self) -> i32 {
        self.0
    }
}

impl Default for PageRule {
    /// A document: 3 to 1000 pages, 50 unless said. A section: 1 to 100, 10 unless said.
    fn default() -> Self {
        Self {
            document: Bounds { accepted: 3..=1000, default: 50 },
            section: Bounds { accepted: 1..=100, default: 10 },
        }
    }
}

impl PageRule {
    /// Reads the bounds from the settings; a default outside its bounds is reported there.
    pub fn read(settings: &mut Settings) -> Self {
        let usual = Self::default();
        let document = read_bounds(settings, "QUIRE_PAGES", &usual.document);
        let section = read_bounds(settings, "QUIRE_SECTION_PAGES", &usual.section);
        Self { document, section }
    }

    /// The same rule with another lower bound for whole documents.
    pub fn with_document_min(mut self, min: i32) -> Self {
        self.document.accepted = min..=*self.document.accepted.end();
        self
    }

    pub fn default_for(&self, kind: Kind) -> PageCount {
        PageCount(self.bounds(kind).default)
    }

    /// # Errors
    /// The count is outside the bounds of its kind.
    pub fn check(&self, kind: Kind, pages: i32) -> Result<PageCount, Violation> {
        let accepted = &self.bounds(kind).accepted;
        let (min, max) = (i64::from(*accepted.start()), i64::from(*accepted.end()));
        match Violation::range(FIELD, i64::from(pages), min, max) {
            Some(violation) => Err(violation),
            None => Ok(PageCount(pages)),
        }
    }

    fn bounds(&self, kind: Kind) -> &Bounds {
        match kind {
            Kind::Document => &self.document,
            Kind::Section => &self.section,
        }
    }
}

fn read_bounds(settings: &mut Settings, prefix: &str, usual: &Bounds) -> Bounds {
    // One million pages is far beyond what can be typeset; the limit only keeps the arithmetic safe.
    const CEILING: i32 = 1_000_000;
    let min = settings.number(&format!("{prefix}_MIN"), *usual.accepted.start(), 1..=CEILING);
    let max = settings.number(&format!("{prefix}_MAX"), *usual.accepted.end(), 1..=CEILING);
    let default = settings.number(&format!("{prefix}_DEFAULT"), usual.default, 1..=CEILING);
    if !(min..=max).contains(&default) {
        settings.problem(format!("{prefix}_DEFAULT is {default}, which is not between {min} and {max}"));
    }
    Bounds { accepted: min..=max, default }
}

#[cfg(test)]
mod tests {
    use quire_fault::Rule;

    use super::*;

    #[test]
    fn a_document_has_3_to_1000_pages_and_50_unless_said() {
        let rule = PageRule::default();
        let refused = |pages| rule.check(Kind::Document, pages).unwrap_err().rule;
        assert_eq!(refused(2), Rule::GreaterThanEqual(3));
        assert_eq!(refused(0), Rule::GreaterThanEqual(3));
        assert_eq!(refused(1001), Rule::LessThanEqual(1000));
        for pages in [3, 50, 1000] {
            assert_eq!(rule.check(Kind::Document, pages), Ok(PageCount(pages)));
        }
        assert_eq!(rule.default_for(Kind::Document).get(), 50);
    }

    #[test]
    fn a_section_has_1_to_100_pages_and_10_unless_said() {
        let rule = PageRule::default();
        let refused = |pages| rule.check(Kind::Section, pages).unwrap_err().rule;
        assert_eq!(refused(0), Rule::GreaterThanEqual(1));
        assert_eq!(refused(101), Rule::LessThanEqual(100));
        for pages in [1, 100] {
            assert_eq!(rule.check(Kind::Section, pages), Ok(PageCount(pages)));
        }
        assert_eq!(rule.default_for(Kind::Section).get(), 10);
    }
}
