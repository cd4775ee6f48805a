//! The few words that every rendering adds to the text, in the language of the document.

/// Words for one language. Serialised into the data of the PDF template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Labels {
    pub contents: &'static str,
    pub references: &'static str,
    /// Stands before a page number in a citation.
    pub page: &'static str,
}

impl Labels {
    /// The words for a BCP 47 primary language subtag; English for a language without an entry.
    pub fn for_language(language: &str) -> Self {
        let (contents, references, page) = match language.to_ascii_lowercase().as_str() {
            "cs" => ("Obsah", "Literatura", "s."),
            "de" => ("Inhalt", "Quellen", "S."),
            "es" => ("Índice", "Referencias", "p."),
            "fr" => ("Table des matières", "Références", "p."),
            "it" => ("Indice", "Riferimenti", "p."),
            "nl" => ("Inhoud", "Bronnen", "p."),
            "pl" => ("Spis treści", "Bibliografia", "s."),
            "pt" => ("Índice", "Referências", "p."),
            "ru" => ("Содержание", "Источники", "с."),
            "uk" => ("Зміст", "Джерела", "с."),
            _ => ("Contents", "References", "p."),
        };
        Self { contents, references, page }
    }
}

#[cfg(test)]
mod tests {
    use super::Labels;

    #[test]
    fn each_supported_language_has_its_own_words_and_others_fall_back_to_english() {
        let words =
            ["de", "fr", "it", "es", "ru", "uk"].map(|language| Labels::for_language(language).contents);
        assert!(words.iter().all(|word| *word != "Contents"), "{words:?}");
        assert_eq!(Labels::for_language("DE").page, "S.");
        assert_eq!(Labels::for_language("xx").references, "References");
    }
}
