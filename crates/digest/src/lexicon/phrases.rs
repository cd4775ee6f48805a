//! The few sentences of its own that a digest prints, by language.

/// Phrases of one language. `{}` stands for a source's title, already in quotation marks.
pub struct Phrases {
    /// A language's own quotation marks.
    pub marks: (&'static str, &'static str),
    /// Before a section's first quotation.
    pub opening: &'static [&'static str],
    /// Where another source takes over.
    pub turning: &'static [&'static str],
    /// Where the same source goes on after several quotations.
    pub continuing: &'static [&'static str],
    pub disclosure: &'static str,
    /// Forms for one page, for a few (2 to 4, where the language has such a form) and for many.
    pub pages: [&'static str; 3],
    pub without_pages: &'static str,
}

/// The phrases of `language`; of English where there are none.
pub fn phrases(language: &str) -> &'static Phrases {
    match language {
        "de" => &GERMAN,
        "fr" => &FRENCH,
        "it" => &ITALIAN,
        "es" => &SPANISH,
        "ru" => &RUSSIAN,
        "uk" => &UKRAINIAN,
        _ => &ENGLISH,
    }
}

const ENGLISH: Phrases = Phrases {
    marks: ("“", "”"),
    opening: &["{} says:", "{} describes it as follows:", "From {}:", "In the words of {}:"],
    turning: &["On this point, {} says:", "{} adds:", "{} puts it this way:", "In {} we read:"],
    continuing: &["{} goes on:", "Further on, {} says:", "{} continues:", "The same source also says:"],
    disclosure: "Composed without a language model: every excerpt is a word-for-word quotation with its source and page.",
    pages: ["1 page", "{} pages", "{} pages"],
    without_pages: "Text without page numbers",
};

const GERMAN: Phrases = Phrases {
    marks: ("„", "“"),
    opening: &["{} schreibt:", "{} beschreibt es so:", "Aus {}:", "In {} heißt es:"],
    turning: &["Dazu schreibt {}:", "{} ergänzt:", "{} formuliert es so:", "In {} liest man:"],
    continuing: &[
        "{} fährt fort:",
        "An anderer Stelle schreibt {}:",
        "Weiter heißt es in {}:",
        "Dieselbe Quelle schreibt auch:",
    ],
    disclosure: "Ohne Sprachmodell zusammengestellt: Jeder Auszug ist ein wörtliches Zitat mit Quelle und Seite.",
    pages: ["1 Seite", "{} Seiten", "{} Seiten"],
    without_pages: "Text ohne Seitenzahlen",
};

const FRENCH: Phrases = Phrases {
    marks: ("« ", " »"),
    opening: &["{} indique :", "{} le décrit ainsi :", "Extrait de {} :", "Selon {} :"],
    turning: &["À ce sujet, {} indique :", "{} ajoute :", "{} le formule ainsi :", "On lit dans {} :"],
    continuing: &["{} poursuit :", "Plus loin, {} indique :", "La même source ajoute :"],
    disclosure: "Composé sans modèle de langage : chaque extrait est une citation mot pour mot avec sa source et sa page.",
    pages: ["1 page", "{} pages", "{} pages"],
    without_pages: "Texte sans numéros de page",
};

const ITALIAN: Phrases = Phrases {
    marks: ("«", "»"),
    opening: &["{} afferma:", "{} lo descrive così:", "Da {}:", "Secondo {}:"],
    turning: &["Su questo punto {} afferma:", "{} aggiunge:", "{} si esprime così:", "In {} si legge:"],
    continuing: &["{} prosegue:", "Più avanti {} afferma:", "La stessa fonte aggiunge:"],
    disclosure: "Composto senza modello linguistico: ogni estratto è una citazione parola per parola con fonte e pagina.",
    pages: ["1 pagina", "{} pagine", "{} pagine"],
    without_pages: "Testo senza numeri di pagina",
};

const SPANISH: Phrases = Phrases {
    marks: ("«", "»"),
    opening: &["{} dice:", "{} lo describe así:", "De {}:", "Según {}:"],
    turning: &["Sobre este punto, {} dice:", "{} añade:", "{} lo expresa así:", "En {} se lee:"],
    continuing: &["{} continúa:", "Más adelante, {} dice:", "La misma fuente añade:"],
    disclosure: "Compuesto sin modelo de lenguaje: cada extracto es una cita palabra por palabra con su fuente y página.",
    pages: ["1 página", "{} páginas", "{} páginas"],
    without_pages: "Texto sin números de página",
};

const RUSSIAN: Phrases = Phrases {
    marks: ("«", "»"),
    opening: &[
        "Источник {} сообщает:",
        "Вот как это описано в источнике {}:",
        "Из источника {}:",
        "В источнике {} сказано:",
    ],
    turning: &[
        "Об этом же в источнике {}:",
        "Источник {} добавляет:",
        "В источнике {} читаем:",
        "Источник {} формулирует это так:",
    ],
    continuing: &["Далее в источнике {}:", "Источник {} продолжает:", "В том же источнике сказано:"],
    disclosure: "Составлено без языковой модели: каждый отрывок — дословная цитата с указанием источника и страницы.",
    pages: ["{} страница", "{} страницы", "{} страниц"],
    without_pages: "Текст без номеров страниц",
};

const UKRAINIAN: Phrases = Phrases {
    marks: ("«", "»"),
    opening: &[
        "Джерело {} повідомляє:",
        "Ось як це описано в джерелі {}:",
        "Із джерела {}:",
        "У джерелі {} сказано:",
    ],
    turning: &[
        "Про це ж у джерелі {}:",
        "Джерело {} додає:",
        "У джерелі {} читаємо:",
        "Джерело {} формулює це так:",
    ],
    continuing: &["Далі в джерелі {}:", "Джерело {} продовжує:", "У тому самому джерелі сказано:"],
    disclosure: "Складено без мовної моделі: кожен уривок — дослівна цитата із зазначенням джерела та сторінки.",
    pages: ["{} сторінка", "{} сторінки", "{} сторінок"],
    without_pages: "Текст без номерів сторінок",
};
