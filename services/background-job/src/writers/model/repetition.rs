//! Notices a model that says the same over and over.

/// Longer phrases are found as sentences.
const LONGEST_PHRASE: usize = 40;
/// A phrase said so often in a row is a loop,
const PHRASES: usize = 4;
/// if that makes at least so many words.
const PHRASE_WORDS: usize = 24;
/// A sentence of at least so many words,
const SENTENCE_WORDS: usize = 6;
/// said so often anywhere in the answer, is a loop.
const SENTENCES: usize = 4;

/// Follows one answer.
#[derive(Debug, Default)]
pub struct Detector {
    /// The word that is not whole yet.
    word: String,
    words: Vec<String>,
    /// For each length of a phrase, how many words in a row are those of one phrase before.
    runs: Vec<usize>,
    sentence_start: usize,
    sentences: std::collections::HashMap<String, usize>,
    looping: bool,
}

impl Detector {
    /// Takes the next piece; whether the model is in a loop by now.
    pub fn push(&mut self, piece: &str) -> bool {
        for character in piece.chars() {
            if character.is_alphanumeric() {
                self.word.extend(character.to_lowercase());
                continue;
            }
            self.end_word();
            if matches!(character, '.' | '!' | '?' | '。' | '\n') {
                self.end_sentence();
            }
        }
        self.looping
    }

    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        if word.is_empty() {
            return;
        }
        self.runs.resize(LONGEST_PHRASE, 0);
        for (run, length) in self.runs.iter_mut().zip(1..) {
            let before = self.words.len().checked_sub(length).map(|at| &self.words[at]);
            *run = if before == Some(&word) { *run + 1 } else { 0 };
            // The first time it was said does not count in the run.
            if *run >= ((PHRASES - 1) * length).max(PHRASE_WORDS.saturating_sub(length)) {
                // A table of zeros is no loop.
                let phrase = &self.words[self.words.len() - length..];
                self.looping |= phrase.iter().any(|word| word.chars().any(char::is_alphabetic));
            }
        }
        self.words.push(word);
    }

    fn end_sentence(&mut self) {
        let sentence = &self.words[self.sentence_start..];
        if sentence.len() >= SENTENCE_WORDS {
            let times = self.sentences.entry(sentence.join(" ")).or_default();
            *times += 1;
            self.looping |= *times >= SENTENCES;
        }
        self.sentence_start = self.words.len();
    }
}

/// Whether a text holds a loop.
pub fn loops(text: &str) -> bool {
    Detector::default().push(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_again_and_again_is_a_loop() {
        assert!(loops(&"the press ".repeat(20)));
        assert!(loops(&"word ".repeat(30)));
        let sentence = "The press was made of wood and iron. ";
        assert!(loops(&format!("Before. {}", sentence.repeat(5))));
        let apart: String =
            (0..4).map(|number| format!("{sentence}Another thing, number {number}. ")).collect();
        assert!(loops(&apart));
    }

    #[test]
    fn lists_tables_and_samples_are_none() {
        assert!(!loops(&"| 0 | 0 | 0 |\n|---|---|---|\n".repeat(40)));
        assert!(!loops("The press was made of wood. The press was made of wood. It was old."));
        assert!(!loops(&"Yes.\n".repeat(6)));
        let numbered: String =
            (0..60).map(|number| format!("Sheet {number} was laid on pile {number}. ")).collect();
        assert!(!loops(&numbered));
        for sample in [
            include_str!("../../../../../samples/from-sheet-to-page.md"),
            include_str!("../../../../../samples/keeping-books-and-paper.txt"),
        ] {
            assert!(!loops(sample));
        }
    }

    #[test]
    fn a_loop_is_seen_however_the_stream_is_cut() {
        let text = "The press was made of wood and iron. ".repeat(5);
        let mut detector = Detector::default();
        assert!(text.split_inclusive('o').any(|piece| detector.push(piece)));
    }
}
