//! Books for the tests, long enough to fill pages.

use quire_manuscript::{Block, Book, Chapter, Cite, Inline, Meta, Reference, Section};

const SENTENCES: [&str; 6] = [
    "The harbour froze early that year, and the ships that had not left by October stayed until the thaw.",
    "Measurements taken at three stations agree within the error of the instruments.",
    "Nobody had asked the fishermen, although they had kept a diary of the ice since 1871.",
    "A second series, begun in the spring, was broken off when the observatory burned down.",
    "What remains is a notebook of ninety pages, most of them water-stained but legible.",
    "The figures in it differ from the printed tables in eleven places.",
];

pub fn text(text: &str) -> Inline {
    Inline::Text { text: text.into() }
}

pub fn paragraph(paragraph: &str) -> Block {
    Block::Paragraph { inlines: vec![text(paragraph)], optional: None }
}

/// A book of `chapters`, each with two sections of `quotes` quotations; every quotation but the first of a
/// section is optional, and its rank is its place in the section.
pub fn book(chapters: usize, quotes: usize) -> Book {
    let section = |seed: usize| {
        let mut blocks = vec![paragraph(&format!("Section {seed} begins. {}", prose(seed, 4)))];
        for place in 0..quotes {
            blocks.push(Block::Quote {
                text: prose(seed + place, 3),
                cite: Cite { source: format!("source-{}", (seed + place) % 7), page: Some(place as u32 + 1) },
                optional: (place > 0).then_some((place * 1_000 + seed) as u32),
            });
        }
        Section { title: Some(format!("On the subject of part {seed}")), blocks }
    };
    let chapter = |index: usize| Chapter {
        title: format!("Chapter about topic {index}"),
        sections: vec![section(index * 2), section(index * 2 + 1)],
    };
    let reference = |index: usize| Reference {
        id: format!("source-{index}"),
        text: format!("Author {index}, A.: A history of ice, volume {index}. Public domain, 190{index}."),
    };
    Book {
        meta: Meta {
            title: "Ice in the harbour".into(),
            subtitle: Some("A digest of seven sources".into()),
            language: "en".into(),
            date: "2026-11-23".into(),
            disclosure: "Every excerpt is a word-for-word quotation; no language model wrote this text."
                .into(),
        },
        chapters: (0..chapters).map(chapter).collect(),
        references: (0..7).map(reference).collect(),
    }
}

fn prose(seed: usize, sentences: usize) -> String {
    let chosen: Vec<_> =
        (0..sentences).map(|place| SENTENCES[(seed * 5 + place) % SENTENCES.len()]).collect();
    chosen.join(" ")
}
