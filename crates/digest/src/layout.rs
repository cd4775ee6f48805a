//! From the lines of extracted pages to lines of running text: no headers, footers, contents or back matter.

use std::collections::{BTreeMap, BTreeSet};

use crate::lexicon;

/// One line of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Text(String),
    Blank,
    /// Something was taken out here: what stands on both sides of it does not belong together.
    Cut,
}

/// Share of a source's pages on which a line has to stand to count as a header or footer.
const REPEATED: f64 = 0.5;
/// The same for lines of which only the first words repeat, at a page's edge.
const REPEATED_OPENING: f64 = 0.2;
/// Back matter starts in the last part of a source; the same word earlier is a chapter or a contents line.
const BACK_MATTER_FROM: f64 = 0.6;

/// The pages' lines in order; `pages[i]` stays page `i`.
pub fn running_text(pages: &[String]) -> Vec<Vec<Line>> {
    let mut lines: Vec<Vec<Line>> = pages.iter().map(|page| split(page)).collect();
    cut_repeated(&mut lines);
    cut_page_numbers(&mut lines);
    cut_contents(&mut lines);
    cut_back_matter(&mut lines);
    lines
}

fn split(page: &str) -> Vec<Line> {
    page.lines()
        .map(|line| {
            let kept: String = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
            let text = kept.trim();
            if text.is_empty() { Line::Blank } else { Line::Text(text.to_owned()) }
        })
        .collect()
}

/// A line as a header is recognised: numbers and case do not count.
fn skeleton(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if character.is_numeric() {
            if !out.ends_with('#') {
                out.push('#');
            }
        } else if !character.is_whitespace() {
            out.extend(character.to_lowercase());
        } else if !out.ends_with(' ') {
            out.push(' ');
        }
    }
    out
}

/// The first two words of a header ("chapter #" of "CHAPTER 3. CHOOSING …"), for headers that change by chapter.
fn opening(text: &str) -> Option<String> {
    let skeleton = skeleton(text);
    let words: Vec<&str> = skeleton.split(' ').take(2).collect();
    // Only with a number: two plain words start ordinary sentences too.
    (words.len() == 2 && words.iter().any(|word| word.contains('#'))).then(|| words.join(" "))
}

/// Places of the first two and the last two text lines of a page.
fn edges(page: &[Line]) -> Vec<usize> {
    let texts: Vec<usize> =
        page.iter().enumerate().filter(|(_, line)| matches!(line, Line::Text(_))).map(|(at, _)| at).collect();
    let mut edges: BTreeSet<usize> = texts.iter().take(2).copied().collect();
    edges.extend(texts.iter().rev().take(2));
    edges.into_iter().collect()
}

fn text_at(page: &[Line], at: usize) -> &str {
    match &page[at] {
        Line::Text(text) => text,
        Line::Blank | Line::Cut => "",
    }
}

fn cut_repeated(pages: &mut [Vec<Line>]) {
    if pages.len() < 4 {
        return;
    }
    let mut whole: BTreeMap<String, usize> = BTreeMap::new();
    let mut openings: BTreeMap<String, usize> = BTreeMap::new();
    for page in pages.iter() {
        let seen: BTreeSet<String> = (0..page.len()).map(|at| skeleton(text_at(page, at))).collect();
        for key in seen {
            *whole.entry(key).or_default() += 1;
        }
        let seen: BTreeSet<String> =
            edges(page).iter().filter_map(|at| opening(text_at(page, *at))).collect();
        for key in seen {
            *openings.entry(key).or_default() += 1;
        }
    }
    let count = pages.len() as f64;
    for page in pages.iter_mut() {
        let edges = edges(page);
        for at in 0..page.len() {
            let text = text_at(page, at);
            let repeated = whole.get(&skeleton(text)).is_some_and(|n| *n as f64 > count * REPEATED);
            let opens = edges.contains(&at)
                && opening(text)
                    .and_then(|key| openings.get(&key).copied())
                    .is_some_and(|n| n as f64 > count * REPEATED_OPENING);
            if !text.is_empty() && lexicon::chapter_word(text).is_none() && (repeated || opens) {
                page[at] = Line::Cut;
            }
        }
    }
}

/// Cuts lines at a page's edge that hold that page's printed number, whatever else they say
/// ("18 Chapter 3. Binary packages"): the difference between printed number and place in the file is constant.
fn cut_page_numbers(pages: &mut [Vec<Line>]) {
    let mut differences: BTreeMap<i64, usize> = BTreeMap::new();
    let candidates: Vec<Vec<(usize, i64)>> = pages
        .iter()
        .map(|page| {
            edges(page)
                .into_iter()
                .flat_map(|at| edge_numbers(text_at(page, at)).into_iter().map(move |n| (at, n)))
                .collect()
        })
        .collect();
    for (place, page) in candidates.iter().enumerate() {
        let seen: BTreeSet<i64> = page.iter().map(|(_, number)| place as i64 - number).collect();
        for difference in seen {
            *differences.entry(difference).or_default() += 1;
        }
    }
    let usual = differences.iter().max_by_key(|(difference, n)| (**n, std::cmp::Reverse(**difference)));
    let usual = usual
        .filter(|(_, n)| **n >= 3 && **n as f64 > pages.len() as f64 * 0.3)
        .map(|(difference, _)| *difference);
    for (place, page) in pages.iter_mut().enumerate() {
        for at in edges(page) {
            let text = text_at(page, at);
            let bare = text.chars().all(|c| c.is_numeric() || c.is_whitespace() || "-–—/|".contains(c));
            let roman = text.len() <= 6 && text.chars().all(|c| "ivxlc".contains(c));
            let numbered = usual.is_some_and(|usual| {
                text.chars().count() < 100
                    && edge_numbers(text).iter().any(|number| place as i64 - number == usual)
            });
            if !text.is_empty() && lexicon::chapter_word(text).is_none() && (bare || roman || numbered) {
                page[at] = Line::Cut;
            }
        }
    }
}

fn edge_numbers(text: &str) -> Vec<i64> {
    let mut words = text.split_whitespace();
    let first = words.next().and_then(|word| word.parse().ok());
    let last = words.next_back().and_then(|word| word.parse().ok());
    [first, last].into_iter().flatten().collect()
}

fn cut_contents(pages: &mut [Vec<Line>]) {
    for page in pages.iter_mut() {
        let texts: Vec<&str> =
            (0..page.len()).map(|at| text_at(page, at)).filter(|text| !text.is_empty()).collect();
        let leaders = texts.iter().filter(|text| has_leader(text)).count();
        let ends_in_number = texts.iter().filter(|text| ends_in_number(text)).count();
        let titled = texts.iter().take(4).any(|text| lexicon::lists(lexicon::CONTENTS, &text.to_lowercase()));
        let contents = leaders >= 5 && leaders * 10 >= texts.len() * 3
            || texts.len() >= 8 && ends_in_number * 10 >= texts.len() * if titled { 3 } else { 7 };
        for line in page.iter_mut() {
            if matches!(line, Line::Text(text) if contents || has_leader(text)) {
                *line = Line::Cut;
            }
        }
    }
}

/// Dots that lead the eye to a page number.
fn has_leader(text: &str) -> bool {
    text.contains(". . . .") || text.contains(".....") || text.contains("… …") || text.contains("·····")
}

fn ends_in_number(text: &str) -> bool {
    text.split_whitespace().count() > 1
        && text
            .split_whitespace()
            .next_back()
            .is_some_and(|word| word.len() <= 4 && word.chars().all(|c| c.is_ascii_digit()))
}

fn cut_back_matter(pages: &mut [Vec<Line>]) {
    let total: usize = pages.iter().map(Vec::len).sum();
    let mut passed = 0;
    let mut cutting = false;
    for page in pages.iter_mut() {
        for line in page.iter_mut() {
            passed += 1;
            let Line::Text(text) = &*line else { continue };
            let title = text
                .trim_start_matches(|c: char| c == '#' || c.is_numeric() || c == '.' || c.is_whitespace())
                .to_lowercase();
            let late = passed as f64 > total as f64 * BACK_MATTER_FROM;
            cutting |= late && lexicon::lists(lexicon::BACK_MATTER, title.trim_end_matches(':'));
            if cutting {
                *line = Line::Cut;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pages: &[Vec<Line>]) -> Vec<String> {
        let lines = pages.iter().flatten();
        lines.filter_map(|line| if let Line::Text(text) = line { Some(text.clone()) } else { None }).collect()
    }

    #[test]
    fn headers_page_numbers_contents_and_references_are_cut() {
        let mut pages = vec!["Contents\n1 Tides . . . . . 1\n2 Moon . . . . . 2\n3 Sun . . . . . 3\n4 Sea . . . . 4\n5 Air . . . . 5".to_owned()];
        for page in 1..=6 {
            let wind = ["north", "south", "east", "west", "strong", "weak"][page - 1];
            pages
                .push(format!("Handbook of tides, page {page} of 6\n\nWind {wind} lifts the sea.\n\n{page}"));
        }
        pages.push("Handbook of tides, page 7 of 6\nReferences\nAdams, J. Tides and men. 1901.".to_owned());
        let kept = texts(&running_text(&pages));
        assert_eq!(kept.len(), 6, "{kept:?}");
        assert!(kept.iter().all(|line| line.starts_with("Wind")), "{kept:?}");
    }

    #[test]
    fn a_header_that_changes_by_chapter_is_cut_by_its_opening() {
        let titles = ["ALPHA", "BETA", "GAMMA", "DELTA", "RHO", "TAU"];
        let pages: Vec<String> = titles
            .iter()
            .enumerate()
            .map(|(n, t)| {
                format!("CHAPTER {n}. {t}\n\nAll about {t} here.\nMore of {t} there.\nThe end of {t} now.")
            })
            .collect();
        let kept = texts(&running_text(&pages));
        assert_eq!(kept.len(), 18);
        assert!(kept.iter().all(|line| !line.starts_with("CHAPTER")));
    }
}
