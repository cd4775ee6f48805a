//! Words and stems of any script, for matching.

use std::collections::HashSet;

use rust_stemmers::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation;

use crate::lexicon;

/// Reduces words of one language to stems.
pub struct Stems {
    stemmer: Option<Stemmer>,
    stop: HashSet<&'static str>,
}

impl Stems {
    pub fn new(language: &str) -> Self {
        let algorithm = match language {
            "en" => Some(Algorithm::English),
            "de" => Some(Algorithm::German),
            "fr" => Some(Algorithm::French),
            "it" => Some(Algorithm::Italian),
            "es" => Some(Algorithm::Spanish),
            "ru" => Some(Algorithm::Russian),
            "pt" => Some(Algorithm::Portuguese),
            "nl" => Some(Algorithm::Dutch),
            "da" => Some(Algorithm::Danish),
            "fi" => Some(Algorithm::Finnish),
            "sv" => Some(Algorithm::Swedish),
            "no" => Some(Algorithm::Norwegian),
            "hu" => Some(Algorithm::Hungarian),
            "ro" => Some(Algorithm::Romanian),
            "tr" => Some(Algorithm::Turkish),
            "el" => Some(Algorithm::Greek),
            _ => None,
        };
        Self { stemmer: algorithm.map(Stemmer::create), stop: lexicon::words(language).stop }
    }

    /// The stems of `text` in order, without words that carry no meaning and without numbers.
    pub fn of(&self, text: &str) -> Vec<String> {
        text.unicode_words()
            .map(str::to_lowercase)
            .filter(|word| !self.is_stop(word) && word.chars().any(char::is_alphabetic))
            .map(|word| self.stem(&word))
            .collect()
    }

    /// `word` in lower case.
    pub fn is_stop(&self, word: &str) -> bool {
        word.chars().nth(1).is_none() && !word.chars().any(is_ideograph) || self.stop.contains(word)
    }

    /// `word` in lower case.
    pub fn stem(&self, word: &str) -> String {
        match &self.stemmer {
            Some(stemmer) => stemmer.stem(word).into_owned(),
            // Inflected languages without a stemmer (Ukrainian): the first six letters tell most words apart.
            None => word.chars().take(6).collect(),
        }
    }
}

fn is_ideograph(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}')
}

/// A hash that is the same on every machine and in every build: FNV-1a, 64 bits.
pub fn stable_hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inflected_cyrillic_words_share_a_stem() {
        let stems = Stems::new("ru");
        assert_eq!(stems.of("пакеты выпуска"), stems.of("пакетов и выпуск"));
        let ukrainian = Stems::new("uk");
        assert_eq!(ukrainian.of("документація"), ukrainian.of("документації"));
    }
}
