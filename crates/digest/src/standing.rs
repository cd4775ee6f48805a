//! How well a passage reads away from its source.

use unicode_segmentation::UnicodeSegmentation;

use crate::lexicon::Words;
use crate::paragraphs::Kind;

/// Marks of text that points elsewhere in its source ("see Section 4.2") and says little outside it.
const POINTERS: &str = " see section| see chapter| read section|the section | described in | described above| below\
    | listed in |documented in |for details|siehe |kapitel |abschnitt|раздел |смотрите|глав|подробн|sezione|capitolo|chapitre";

/// From 0 to 1, by signs that can be counted; relevance is multiplied by it.
pub fn standing(text: &str, sentences: usize, kind: Kind, words: &Words) -> f64 {
    let single = sentences == 1;
    let mut standing: f64 = if single { 0.8 } else { 1.0 };
    if kind == Kind::Item {
        standing *= 0.6;
    }
    if text.contains("://") || text.contains("www.") {
        standing *= 0.7;
    }
    let lower = format!(" {} ", text.to_lowercase());
    if POINTERS.split('|').any(|mark| lower.contains(mark)) {
        standing *= if single { 0.4 } else { 0.7 };
    }
    if text.contains('?') {
        standing *= 0.8;
    }
    if single && lower.unicode_words().any(|word| words.pointing.contains(word)) {
        standing *= 0.5;
    }
    standing
}

/// A sentence that says early on what something is.
pub fn is_defining(sentence: &str, words: &Words) -> bool {
    const EARLY: usize = 50;
    let start: String = sentence.chars().take(EARLY).collect::<String>().to_lowercase();
    words.defining.iter().any(|mark| start.contains(mark))
        && !start.starts_with("if ")
        && !start.starts_with("when ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexicon;

    #[test]
    fn a_pointer_stands_worse_than_what_it_points_to() {
        let words = lexicon::words("en");
        let matter = standing("The moon pulls the sea. The sun helps it.", 2, Kind::Prose, &words);
        let pointer =
            standing("The moon is described in Section 4.2 of the handbook.", 1, Kind::Prose, &words);
        assert!(matter > pointer * 2.0, "{matter} {pointer}");
    }

    #[test]
    fn a_definition_says_early_what_something_is() {
        let words = lexicon::words("en");
        assert!(is_defining("A barometer is an instrument for the weight of air.", &words));
        assert!(!is_defining("If the glass is the last one left, keep it safe.", &words));
        assert!(is_defining("Прилив — это подъём воды.", &lexicon::words("ru")));
    }
}
