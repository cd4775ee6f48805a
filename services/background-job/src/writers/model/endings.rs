//! Where a text may end, and where a continuation begins.

/// A repeated seam after a cut is at least this long; shorter ones are chance.
const SEAM: usize = 12;
/// Nobody repeats more than this many bytes.
const LONGEST_SEAM: usize = 400;

/// Whether a text ends where a text may end: with a sentence, or with a list item, a table row, code or an object.
pub fn ends_whole(text: &str) -> bool {
    let text = text.trim_end();
    let last_line = text.lines().last().unwrap_or_default().trim_start();
    let item = last_line.starts_with(['-', '*', '+', '|', '#', '`'])
        || last_line.split_once(['.', ')']).is_some_and(|(number, rest)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && rest.starts_with(' ')
        });
    item || text.ends_with([
        '.', '!', '?', '…', ':', ';', '"', '\'', '”', '“', '»', '«', '’', ')', ']', '}', '*', '_', '。',
    ])
}

/// Without the sentence that was broken off at the end, if it is a small part of the text.
pub fn whole_sentences(text: &str) -> String {
    if ends_whole(text) {
        return text.to_owned();
    }
    let end = text.rmatch_indices(['.', '!', '?', '…', '。']).find(|(at, mark)| {
        let after = &text[at + mark.len()..];
        after.starts_with(char::is_whitespace)
    });
    match end {
        Some((at, mark)) if at * 2 > text.len() => text[..at + mark.len()].to_owned(),
        _ => text.to_owned(),
    }
}

/// How many bytes at the start of `rest` repeat the end of `text`.
fn seam(text: &str, rest: &str) -> usize {
    let longest = rest.len().min(text.len()).min(LONGEST_SEAM);
    let sizes = (SEAM..=longest).rev();
    sizes.into_iter().find(|size| rest.is_char_boundary(*size) && text.ends_with(&rest[..*size])).unwrap_or(0)
}

/// Takes what a continuation repeats off its start, while it comes.
#[derive(Debug)]
pub struct Seam {
    /// The end of the text that is continued; empty once it is known where the new text begins.
    tail: String,
    held: String,
}

impl Seam {
    pub fn after(text: &str) -> Self {
        let mut start = text.len().saturating_sub(LONGEST_SEAM);
        while !text.is_char_boundary(start) {
            start += 1;
        }
        Self { tail: text[start..].to_owned(), held: String::new() }
    }

    /// The text that is new, of what has come so far and was not given before.
    pub fn push(&mut self, piece: String) -> String {
        if self.tail.is_empty() {
            return piece;
        }
        self.held.push_str(&piece);
        // As long as it may still become a repetition, nobody sees it.
        if self.held.len() < self.tail.len() && self.tail.contains(&self.held) {
            return String::new();
        }
        self.finish()
    }

    /// The same at the end of the continuation.
    pub fn finish(&mut self) -> String {
        let tail = std::mem::take(&mut self.tail);
        let held = std::mem::take(&mut self.held);
        held[seam(&tail, &held)..].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_last_sentence_is_noticed_and_cut() {
        assert!(ends_whole("It is done."));
        assert!(ends_whole("Points:\n\n- one\n- two"));
        assert!(ends_whole("1. first\n2. second"));
        assert!(!ends_whole("It is done. And then the"));
        assert_eq!(whole_sentences("It is done, and it is well. And then"), "It is done, and it is well.");
        assert_eq!(
            whole_sentences("A. The whole rest is one long sentence without"),
            "A. The whole rest is one long sentence without"
        );
    }

    #[test]
    fn what_a_continuation_repeats_is_found() {
        let text = "The press was made of wood";
        assert_eq!(&"made of wood and iron."[seam(text, "made of wood and iron.")..], " and iron.");
        assert_eq!(seam(text, " and of iron."), 0);
        assert_eq!(seam("über Bücher schreibt", "Bücher schreibt er."), "Bücher schreibt".len());
    }

    #[test]
    fn the_seam_is_found_however_the_continuation_is_cut() {
        let text = "Long before that, über Bücher schreibt";
        for (rest, new) in [
            ("Bücher schreibt er, wood by wood.", " er, wood by wood."),
            (" er selbst.", " er selbst."),
            ("Bücher schreibt", ""),
            ("", ""),
        ] {
            for size in 1..=rest.chars().count().max(1) {
                let mut seam = Seam::after(text);
                let characters: Vec<char> = rest.chars().collect();
                let mut seen: String =
                    characters.chunks(size).map(|piece| seam.push(piece.iter().collect())).collect();
                seen.push_str(&seam.finish());
                assert_eq!(seen, new, "pieces of {size} characters");
            }
        }
        let long = "A sentence that is not the same as others. ".repeat(20);
        assert_eq!(Seam::after(&long).push(format!("{}New.", &long[long.len() - 43..])), "New.");
    }
}
