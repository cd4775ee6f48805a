//! From paragraphs to sentences fit to be quoted.

use unicode_segmentation::UnicodeSegmentation;

use crate::lexicon::{self, Words};
use crate::paragraphs::ends_sentence;

/// A sentence of a paragraph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a> {
    pub text: &'a str,
    /// It stands directly after the candidate before it: nothing was left out between them.
    pub follows: bool,
    pub fit: bool,
    /// It cannot be understood without the sentence before it.
    pub leaning: bool,
}

pub const WORDS: std::ops::RangeInclusive<usize> = 6..=60;

/// Splits a paragraph and judges every sentence.
pub fn candidates<'a>(paragraph: &'a str, words: &Words) -> Vec<Candidate<'a>> {
    let mut out: Vec<Candidate<'a>> = Vec::new();
    let mut end_of_last = None;
    for (start, end) in bounds(paragraph) {
        let text = paragraph[start..end].trim();
        if text.is_empty() {
            continue;
        }
        let at = start + paragraph[start..end].find(text).expect("trimmed from the same slice");
        // A footnote's number after the dot is no part of the sentence, and what it ties to is not quoted.
        let shown = without_note(text);
        let follows =
            end_of_last.is_some_and(|last: usize| paragraph[last..at].chars().all(char::is_whitespace));
        end_of_last = Some(at + shown.len());
        out.push(Candidate { text: shown, follows, fit: is_fit(shown), leaning: is_leaning(shown, words) });
    }
    out
}

/// UAX #29 sentence bounds, with those after abbreviations and before small letters taken back,
/// and with bounds added after footnote numbers ("packages.5 Next").
fn bounds(paragraph: &str) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for (start, piece) in paragraph.split_sentence_bound_indices() {
        let end = start + piece.len();
        match out.last_mut() {
            Some(last) if !breaks(&paragraph[last.0..last.1], piece) => last.1 = end,
            _ => out.push((start, end)),
        }
    }
    out.into_iter().flat_map(|(start, end)| split_at_notes(paragraph, start, end)).collect()
}

fn breaks(before: &str, after: &str) -> bool {
    let before = before.trim_end();
    let next = after.trim_start().chars().next();
    if !ends_sentence(before) && !before.ends_with(':')
        || next.is_some_and(|c| c.is_lowercase() || ",;:)".contains(c))
    {
        return false;
    }
    let Some(without_dot) = before.strip_suffix('.') else {
        return true;
    };
    let word = without_dot.rsplit([' ', '(', '\u{a0}']).next().unwrap_or_default().to_lowercase();
    let initial = word.chars().count() == 1 && without_dot.ends_with(char::is_uppercase);
    let numbered = next.is_some_and(char::is_numeric)
        && word.len() <= 4
        && lexicon::lists(lexicon::ABBREVIATIONS, &word);
    !(initial || numbered || lexicon::lists(lexicon::ABBREVIATIONS, &word))
}

fn split_at_notes(paragraph: &str, start: usize, end: usize) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut from = start;
    let text = &paragraph[start..end];
    let mut before = ' ';
    for (at, character) in text.char_indices() {
        if ".!?".contains(character) && before.is_lowercase() {
            let rest = &text[at + character.len_utf8()..];
            let note: usize = rest.chars().take_while(|c| c.is_numeric()).map(char::len_utf8).sum();
            let after = &rest[note..];
            let next = after.trim_start().chars().next();
            if note > 0 && after.starts_with(' ') && next.is_some_and(char::is_uppercase) {
                let bound = start + at + character.len_utf8() + note;
                out.push((from, bound));
                from = bound;
            }
        }
        before = character;
    }
    out.push((from, end));
    out
}

fn without_note(text: &str) -> &str {
    let shown = text.trim_end_matches(char::is_numeric);
    let before = shown.trim_end_matches(['.', '!', '?', ')']);
    let tied = before.len() < shown.len() && before.ends_with(char::is_alphabetic);
    if tied && ends_sentence(shown) { shown } else { text }
}

fn is_fit(text: &str) -> bool {
    let count = text.unicode_words().count();
    WORDS.contains(&count)
        && ends_sentence(text)
        && opens_well(text)
        && is_mostly_words(text)
        && is_balanced(text)
        && is_clean(text)
}

fn opens_well(text: &str) -> bool {
    let inner = text.trim_start_matches(['"', '“', '„', '«', '‘', '\'', '”', '(', '¿', '¡']);
    inner.chars().next().is_some_and(|first| first.is_alphabetic() && !first.is_lowercase())
}

fn is_mostly_words(text: &str) -> bool {
    let visible = text.chars().filter(|c| !c.is_whitespace()).count();
    let other = text.chars().filter(|c| !c.is_whitespace() && !c.is_alphabetic()).count();
    let tokens: Vec<&str> = text.split_whitespace().collect();
    let technical = tokens.iter().filter(|token| is_technical(token)).count();
    other * 10 <= visible * 4 && technical * 4 <= tokens.len()
}

/// A path, an option, an assignment, an address.
fn is_technical(token: &str) -> bool {
    let token = token.trim_matches(|c: char| "\"'“”„«»’‘(),.;:?!".contains(c));
    token.starts_with("--")
        || token.contains(['=', '_', '\\', '<', '>', '{', '}', '|', '$', '@', '~', '*', '#', '+'])
        || token.contains("//")
        || token.starts_with('/')
        || token.chars().any(|c| c.is_ascii_digit()) && token.chars().any(char::is_alphabetic)
}

fn is_balanced(text: &str) -> bool {
    let pairs = [('(', ')'), ('[', ']'), ('{', '}'), ('«', '»')];
    let count = |wanted: char| text.chars().filter(|c| *c == wanted).count();
    // German closes with the mark that English opens with.
    let curly = if text.contains('„') {
        count('„') == count('“') + count('”')
    } else {
        count('“') <= count('”') + 1 && count('“') + 1 >= count('”')
    };
    pairs.iter().all(|(open, close)| count(*open) == count(*close))
        && (count('»') == 0 || count('«') == count('»'))
        && curly
        && count('"') % 2 == 0
}

/// Nothing that extraction broke: lost spaces, loose accents, replacement characters, marks of listings.
fn is_clean(text: &str) -> bool {
    let mut before = 'x';
    for character in text.chars() {
        let combining = matches!(character, '\u{300}'..='\u{36f}');
        let private = matches!(character, '\u{e000}'..='\u{f8ff}' | '\u{fffd}' | '←' | '↩' | '•' | '□' | '■');
        if private || combining && !before.is_alphabetic() {
            return false;
        }
        before = character;
    }
    let long = |word: &str| word.chars().count() > 40 && !word.contains('/') && !word.contains('-');
    let address = |word: &str| word.contains("://") && word.chars().count() > 70;
    // "field.13 clean": a footnote's number inside, or a sentence's end that extraction swallowed.
    let noted = text
        .as_bytes()
        .windows(3)
        .any(|w| w[0].is_ascii_lowercase() && w[1] == b'.' && w[2].is_ascii_digit())
        && text.split_whitespace().any(|word| {
            word.rsplit_once('.')
                .is_some_and(|(_, tail)| !tail.is_empty() && tail.chars().all(|c| c.is_ascii_digit()))
        })
        || text.contains(['¹', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹']);
    let placeholder = text.contains(['<', '|', '{']) || text.contains("$(");
    let run_on = text
        .as_bytes()
        .windows(3)
        .any(|w| w[0].is_ascii_lowercase() && w[1] == b'.' && w[2].is_ascii_uppercase());
    !text.split_whitespace().any(|word| long(word) || address(word)) && !noted && !placeholder && !run_on
}

/// Whether the sentence leans on the one before it.
pub fn is_leaning(text: &str, words: &Words) -> bool {
    let lower = text.to_lowercase();
    let start = lower.trim_start_matches(|c: char| !c.is_alphanumeric());
    let leans = words.leaning.iter().any(|opening| {
        start
            .strip_prefix(opening)
            .is_some_and(|rest| rest.chars().next().is_none_or(|c| !c.is_alphanumeric() && c != '-'))
    });
    leans || start.unicode_words().take(5).any(|word| words.pointing.contains(word)) || lower.starts_with('(')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn english(text: &str) -> Vec<Candidate<'_>> {
        candidates(text, &lexicon::words("en"))
    }

    #[test]
    fn abbreviations_and_initials_do_not_end_a_sentence() {
        let found = english(
            "Dr. J. Smith saw many tides, e.g. the great one of 1901. The sea fell on the next day again.",
        );
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|one| one.fit));
        let german = candidates(
            "Das Meer steigt z. B. im Mai an allen Küsten. Der Mond zieht es jeden Tag.",
            &lexicon::words("de"),
        );
        assert_eq!(german.len(), 2, "{german:?}");
        let russian = candidates(
            "Приливы, отливы и т. д. описаны в книге А. Иванова. Море поднимается каждый день два раза.",
            &lexicon::words("ru"),
        );
        assert_eq!(russian.len(), 2, "{russian:?}");
    }

    #[test]
    fn fragments_numbers_and_commands_are_not_fit() {
        for text in [
            "Too short to quote.",
            "and this one starts in the middle of something.",
            "It has no mark at its end at all",
            "12 34 56 78 90 12 34 Tab 56 78 90 a b 12 34 56 78.",
            "Run --alpha --beta /etc/gamma x=1 y=2 now and then z=3.",
            "The words (of which one pair is never closed stand here.",
        ] {
            assert!(english(text).iter().all(|one| !one.fit), "{text}");
        }
    }

    #[test]
    fn a_leaning_sentence_is_known_in_each_language() {
        for (language, text) in [
            ("en", "However, the sea falls again after noon."),
            ("en", "In this case the sea falls again."),
            ("de", "Dadurch fällt das Meer am Mittag wieder."),
            ("ru", "Однако море после полудня снова опускается."),
            ("it", "Tuttavia il mare scende dopo mezzogiorno."),
        ] {
            assert!(is_leaning(text, &lexicon::words(language)), "{text}");
        }
        assert!(!is_leaning("Thistle grows on the shore of the sea.", &lexicon::words("en")));
    }

    #[test]
    fn a_footnote_number_ends_a_sentence_and_is_left_out() {
        let found = english("The tide falls in essential harbours.5 The sea then rests until the next day.");
        assert_eq!(found[0].text, "The tide falls in essential harbours.");
        assert!(!found[1].follows);
    }
}
