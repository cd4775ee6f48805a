//! How many words, sections and chapters a document of so many pages should have.

/// Words on a full page of the template, headings and space included.
const WORDS_PER_PAGE: u32 = 430;
/// Pages without running text: title, contents, references.
const FIXED_PAGES: u32 = 3;
/// Models write sections of this length well.
const SECTION_WORDS: u32 = 700;
/// A section is never planned shorter.
pub const LEAST_SECTION_WORDS: u32 = 80;
/// A longer document is planned in two levels. Up to here it has some seventy sections; with a sentence for each, their
/// outline takes about 3000 tokens, which an answer of 4096 has room for.
const LONGEST_IN_ONE: u32 = 120;
/// Sections that a chapter of a long document should have.
const SECTIONS_PER_CHAPTER: u32 = 12;
/// Sections that one answer plans: with a sentence for each, about 1000 tokens.
const SECTIONS_PER_ANSWER: u32 = 24;
pub const MAX_CHAPTERS: usize = 60;

/// Words of the whole document.
pub fn body_words(pages: u32) -> u32 {
    pages.saturating_sub(FIXED_PAGES).max(1) * WORDS_PER_PAGE
}

/// Words of each of so many sections that have so many words together.
pub fn section_words(words: u32, sections: usize) -> u32 {
    let sections = u32::try_from(sections).unwrap_or(u32::MAX).max(1);
    (words / sections).max(LEAST_SECTION_WORDS)
}

/// Sections that a document should have.
pub fn sections(pages: u32) -> u32 {
    (body_words(pages) / SECTION_WORDS).max(1)
}

/// Sections that are taken where so many were asked for.
pub fn most_sections(asked: u32) -> usize {
    usize::try_from(asked).unwrap_or(usize::MAX).saturating_mul(2).saturating_add(4)
}

/// Whether its chapters are planned first, and then the sections of each.
pub fn has_two_levels(pages: u32) -> bool {
    pages > LONGEST_IN_ONE
}

/// Chapters that a long document should have.
pub fn chapters(pages: u32) -> u32 {
    let most = u32::try_from(MAX_CHAPTERS).unwrap_or(u32::MAX);
    (sections(pages) / SECTIONS_PER_CHAPTER).clamp(1, most)
}

/// How `whole` is shared out among chapters of so many pages each, at least 1 for each.
pub fn shares(whole: u32, pages: &[u32]) -> Vec<u32> {
    let sum = pages.iter().copied().map(u64::from).sum::<u64>().max(1);
    let share = |pages: &u32| {
        let rounded = (u64::from(whole) * u64::from(*pages) + sum / 2) / sum;
        u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
    };
    pages.iter().map(share).collect()
}

/// How many sections are asked for in each answer, so that there are so many in all.
pub fn portions(sections: u32) -> Vec<u32> {
    let answers = sections.div_ceil(SECTIONS_PER_ANSWER).max(1);
    (0..answers).map(|answer| sections / answers + u32::from(answer < sections % answers)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_pages_have_some_six_hundred_sections_in_fifty_chapters() {
        assert_eq!((sections(1000), chapters(1000)), (612, 51));
        assert_eq!((sections(LONGEST_IN_ONE), has_two_levels(LONGEST_IN_ONE)), (71, false));
        assert_eq!((chapters(LONGEST_IN_ONE + 1), has_two_levels(LONGEST_IN_ONE + 1)), (6, true));
    }

    #[test]
    fn shares_follow_the_pages_and_nobody_gets_nothing() {
        assert_eq!(shares(612, &[1; 51]), [12; 51]);
        assert_eq!(shares(100, &[900, 90, 10, 0]), [90, 9, 1, 1]);
        assert_eq!(shares(10, &[0, 0]), [1, 1]);
    }

    #[test]
    fn many_sections_are_asked_for_in_several_answers() {
        assert_eq!(portions(12), [12]);
        assert_eq!(portions(24), [24]);
        assert_eq!(portions(25), [13, 12]);
        assert_eq!(portions(204).iter().sum::<u32>(), 204);
        assert!(portions(612).iter().all(|asked| *asked <= SECTIONS_PER_ANSWER));
    }
}
