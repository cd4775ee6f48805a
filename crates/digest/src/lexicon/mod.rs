//! What the digest knows about languages: short tables, English where a language has none.

mod phrases;
mod words;

use std::collections::HashSet;

use unicode_segmentation::UnicodeSegmentation;

pub use phrases::{Phrases, phrases};
pub use words::{Words, words};

/// Headings of contents pages, in lower case.
pub const CONTENTS: &str = "contents|table of contents|inhaltsverzeichnis|inhalt|table des matières|sommaire|indice\
    |sommario|índice|contenido|оглавление|содержание|зміст|list of figures|list of tables\
    |abbildungsverzeichnis|tabellenverzeichnis";

/// Headings after which a source has no prose any more, in lower case.
pub const BACK_MATTER: &str = "references|bibliography|works cited|literature cited|index|general index|literatur\
    |literaturverzeichnis|quellenverzeichnis|stichwortverzeichnis|sachregister|register\
    |bibliographie|références|index général|bibliografia|riferimenti bibliografici\
    |indice analitico|bibliografía|referencias|índice alfabético|литература|список литературы\
    |библиография|список источников|предметный указатель|алфавитный указатель|указатель\
    |література|список літератури|покажчик|предметний покажчик";

/// Headings that say nothing about their matter, in lower case: never a section's title.
pub const GENERIC: &str = "introduction|preface|foreword|summary|conclusion|conclusions|overview|abstract|note|notes\
    |example|examples|appendix|license|licence|copyright|legal notice|acknowledgements\
    |acknowledgments|authors|authors and maintainers|feedback|translations|about this manual\
    |about this document|scope|general|miscellaneous|other|colophon|revision history\
    |related documents|definitions|einleitung|einführung|vorwort|zusammenfassung|fazit|anhang\
    |lizenz|impressum|danksagung|übersicht|allgemeines|sonstiges|verschiedenes|introduzione\
    |prefazione|conclusioni|appendice|licenza|ringraziamenti|avant-propos|résumé|annexe\
    |remerciements|introducción|prólogo|resumen|conclusión|conclusiones|apéndice|agradecimientos\
    |введение|предисловие|заключение|выводы|приложение|лицензия|благодарности|обзор|примечания\
    |разное|вступ|передмова|висновки|додаток|подяки|огляд";

/// Words that stand before a chapter's number, in lower case.
const CHAPTER: &str = "chapter|part|kapitel|teil|chapitre|partie|capitolo|parte|capítulo|глава|часть|розділ|частина\
    |appendix|anhang|приложение";

/// Abbreviations that do not end a sentence, of all languages together, in lower case and without the last dot.
pub const ABBREVIATIONS: &str = "dr|mr|mrs|ms|prof|st|no|vol|fig|figs|eq|ch|sec|pp|p|ed|eds|cf|e.g|i.e|eg|ie|vs|approx|resp\
    |al|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|z.b|z|d.h|u.a|bzw|ca|vgl|evtl|ggf|nr\
    |abb|tab|bd|hrsg|sog|inkl|usw|str|p.ex|par ex|av|env|art|cap|es|ad es|ecc|sig|dott|pag|núm\
    |pág|sr|sra|ej|т.е|т.к|т.д|т.п|т.н|т|е|г|гг|в|вв|стр|с|рис|табл|гл|см|ср|им|акад|проф|напр\
    |др|тыс|млн|млрд|руб|ул|тобто|ін|д|п";

/// Whether `entry` stands in one of the lists above.
pub fn lists(list: &str, entry: &str) -> bool {
    list.split('|').any(|listed| listed == entry)
}

/// Tells languages by their little words: much faster than trigrams, and enough to find an untranslated paragraph.
pub struct Ear {
    stop: Vec<(&'static str, HashSet<&'static str>)>,
}

impl Ear {
    pub fn new() -> Self {
        Self {
            stop: ["en", "de", "fr", "it", "es", "ru", "uk"]
                .map(|language| (language, words(language).stop))
                .into(),
        }
    }

    /// Whether a paragraph is in another language than `language`. Only for languages with tables and
    /// paragraphs long enough to tell.
    pub fn hears_another(&self, text: &str, language: &str) -> bool {
        let lower = text.to_lowercase();
        let tokens: Vec<&str> = lower.unicode_words().collect();
        let count = |stop: &HashSet<&str>| tokens.iter().filter(|token| stop.contains(*token)).count();
        let Some((_, own)) = self.stop.iter().find(|(known, _)| *known == language) else {
            return false;
        };
        let own = count(own);
        tokens.len() >= 12
            && self.stop.iter().map(|(_, stop)| count(stop)).any(|other| other >= 5 && other > own * 2)
    }
}

/// Whether a line is nothing but "Chapter" (`Some(false)`) or "Chapter 3" (`Some(true)`).
pub fn chapter_word(line: &str) -> Option<bool> {
    let lower = line.to_lowercase();
    let mut words = lower.split_whitespace();
    let (first, second) = (words.next()?, words.next());
    let number = |word: &str| {
        word.chars().all(|c| c.is_numeric() || ".:ivxlc".contains(c)) || word.chars().count() == 1
    };
    let sound = words.next().is_none() && lists(CHAPTER, first) && second.is_none_or(number);
    sound.then_some(second.is_some())
}

/// Two letters after ISO 639-1 for what `whatlang` found; languages without tables keep their own code.
pub fn code(language: whatlang::Lang) -> &'static str {
    use whatlang::Lang;
    match language {
        Lang::Deu => "de",
        Lang::Fra => "fr",
        Lang::Ita => "it",
        Lang::Spa => "es",
        Lang::Rus => "ru",
        Lang::Ukr => "uk",
        Lang::Por => "pt",
        Lang::Nld => "nl",
        Lang::Pol => "pl",
        Lang::Ces => "cs",
        Lang::Dan => "da",
        Lang::Fin => "fi",
        Lang::Swe => "sv",
        Lang::Nob => "no",
        Lang::Hun => "hu",
        Lang::Ron => "ro",
        Lang::Tur => "tr",
        Lang::Bul => "bg",
        Lang::Bel => "be",
        Lang::Ell => "el",
        Lang::Cmn => "zh",
        Lang::Jpn => "ja",
        Lang::Kor => "ko",
        _ => "en",
    }
}
