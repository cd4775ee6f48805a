//! Blocks to Markdown.

use std::fmt::Write as _;

use super::escape::{self, Place};
use crate::{Block, Book, Cite, Inline, Labels, Reference, Section};

/// The whole document: title, disclosure, numbered headings, references.
pub fn book_to_markdown(book: &Book) -> String {
    let labels = Labels::for_language(&book.meta.language);
    let mut out = Writer::new(&book.references, labels);
    out.heading(1, &book.meta.title);
    for line in book.meta.subtitle.iter().chain([&book.meta.date, &book.meta.disclosure]) {
        out.block(&escape::text(line, Place::Flow { indent: 0 }));
    }
    for (chapter, number) in book.chapters.iter().zip(1..) {
        out.numbered_heading(2, &number.to_string(), &chapter.title);
        let mut section_number = 0;
        for section in &chapter.sections {
            let mut level = 3;
            if let Some(title) = &section.title {
                section_number += 1;
                out.numbered_heading(3, &format!("{number}.{section_number}"), title);
                level = 4;
            }
            out.blocks(&section.blocks, level);
        }
    }
    if !book.references.is_empty() {
        out.heading(2, labels.references);
        for (reference, number) in book.references.iter().zip(1..) {
            // Behind the number the text starts no line.
            let text = escape::text(&format!("x{}", reference.text.trim()), Place::Flow { indent: 0 });
            out.block(&format!("[{number}] {}", &text[1..]));
        }
    }
    out.out
}

/// One section: its title as a heading of level 2, then its blocks. Citations are numbered by `references`,
/// those of the whole book; `language` is the book's.
pub fn section_to_markdown(section: &Section, references: &[Reference], language: &str) -> String {
    let mut out = Writer::new(references, Labels::for_language(language));
    if let Some(title) = &section.title {
        out.heading(2, title);
    }
    out.blocks(&section.blocks, 3);
    out.out
}

struct Writer<'a> {
    out: String,
    references: &'a [Reference],
    labels: Labels,
    /// Whether the last block was a list, and with which of the two markers: two lists in a row with the
    /// same marker would be read as one.
    last_list: Option<bool>,
}

impl<'a> Writer<'a> {
    fn new(references: &'a [Reference], labels: Labels) -> Self {
        Self { out: String::new(), references, labels, last_list: None }
    }

    fn block(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.push_str(text);
        self.out.push('\n');
        self.last_list = None;
    }

    fn heading(&mut self, level: u8, title: &str) {
        let title = escape::text(title, Place::Line);
        self.block(&format!("{} {title}", "#".repeat(level.clamp(1, 6).into())));
    }

    fn numbered_heading(&mut self, level: u8, number: &str, title: &str) {
        self.heading(level, &format!("{number} {title}"));
    }

    /// `top` is the level of the highest heading allowed among the blocks.
    fn blocks(&mut self, blocks: &[Block], top: u8) {
        for block in blocks {
            match block {
                Block::Heading { text, .. } if text.trim().is_empty() => {}
                Block::Heading { level, text } => {
                    self.heading(top.saturating_add(level.saturating_sub(1)), text);
                }
                Block::Paragraph { inlines, .. } => {
                    let text = self.inlines(inlines, Place::Flow { indent: 0 });
                    self.block(&text);
                }
                Block::Quote { text, cite, .. } => self.quote(text, cite),
                Block::List { ordered, items } => self.list(*ordered, items),
                Block::Code { text } => {
                    let fence = escape::fence(text, 3);
                    self.block(&format!("{fence}\n{text}\n{fence}"));
                }
                Block::Table { header, rows } => self.table(header, rows),
            }
        }
    }

    fn inlines(&self, inlines: &[Inline], place: Place) -> String {
        escape::inlines(inlines, place, &|cite| self.cite(cite))
    }

    /// `[3, p. 12]`; a source that the references do not name appears by its id.
    fn cite(&self, cite: &Cite) -> String {
        let mut text = String::from("[");
        match self.references.iter().position(|reference| reference.id == cite.source) {
            Some(index) => write!(text, "{}", index + 1).expect("writing to a string cannot fail"),
            None => text.push_str(&escape::text(&cite.source, Place::Line)),
        }
        if let Some(page) = cite.page {
            write!(text, ", {} {page}", self.labels.page).expect("writing to a string cannot fail");
        }
        text.push(']');
        text
    }

    fn quote(&mut self, text: &str, cite: &Cite) {
        let text = escape::text(text, Place::Flow { indent: 0 });
        let mut quote = String::new();
        for line in text.lines() {
            writeln!(quote, "> {line}").expect("writing to a string cannot fail");
        }
        write!(quote, ">\n> {}", self.cite(cite)).expect("writing to a string cannot fail");
        self.block(&quote);
    }

    fn list(&mut self, ordered: bool, items: &[Vec<Inline>]) {
        let other_marker = self.last_list == Some(false);
        let mut lines = Vec::new();
        for (item, number) in items.iter().zip(1..) {
            let marker = match (ordered, other_marker) {
                (true, false) => format!("{number}. "),
                (true, true) => format!("{number}) "),
                (false, false) => "- ".to_owned(),
                (false, true) => "+ ".to_owned(),
            };
            let text = self.inlines(item, Place::Flow { indent: marker.len() });
            lines.push(format!("{marker}{text}"));
        }
        self.block(&lines.join("\n"));
        self.last_list = Some(other_marker);
    }

    fn table(&mut self, header: &[Vec<Inline>], rows: &[Vec<Vec<Inline>>]) {
        let columns = rows.iter().map(Vec::len).chain([header.len()]).max().unwrap_or(0);
        if columns == 0 {
            return;
        }
        let line = |cells: &[Vec<Inline>]| {
            let filler = std::iter::repeat(&[] as &[Inline]);
            let cells = cells.iter().map(Vec::as_slice).chain(filler).take(columns);
            cells.map(|cell| format!("| {} ", self.inlines(cell, Place::Line))).collect::<String>() + "|"
        };
        let mut lines = vec![line(header), "| --- ".repeat(columns) + "|"];
        lines.extend(rows.iter().map(|row| line(row)));
        self.block(&lines.join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Chapter, Meta, blocks_from_markdown};

    fn text(text: &str) -> Inline {
        Inline::Text { text: text.into() }
    }

    fn paragraph(inlines: Vec<Inline>) -> Block {
        Block::Paragraph { inlines, optional: None }
    }

    fn round_trip(blocks: &[Block]) -> Vec<Block> {
        let section = Section { title: None, blocks: blocks.to_vec() };
        blocks_from_markdown(&section_to_markdown(&section, &[], "en"))
    }

    #[test]
    fn a_book_shows_title_disclosure_numbers_quotes_and_references() {
        let cite = Cite { source: "b".into(), page: Some(12) };
        let quote = Block::Quote { text: "Word *for* word.".into(), cite, optional: Some(3) };
        let cite = Cite { source: "a".into(), page: None };
        let cited = paragraph(vec![text("See "), Inline::Cite { cite }, text(".")]);
        let sections = vec![
            Section { title: None, blocks: vec![cited] },
            Section { title: Some("Deeper".into()), blocks: vec![quote] },
        ];
        let reference = |id: &str, text: &str| Reference { id: id.into(), text: text.into() };
        let book = Book {
            meta: Meta {
                title: "A #1 title".into(),
                subtitle: None,
                language: "de".into(),
                date: "2026-11-23".into(),
                disclosure: "Made by hand.".into(),
            },
            chapters: vec![Chapter { title: "Start".into(), sections }],
            references: vec![reference("a", "- First, A."), reference("b", "Second, B.")],
        };
        let expected = "# A \\#1 title\n\n2026-11-23\n\nMade by hand.\n\n## 1 Start\n\nSee [1].\n\n\
            ### 1.1 Deeper\n\n> Word \\*for\\* word.\n>\n> [2, S. 12]\n\n## Quellen\n\n[1] - First, A.\n\n\
            [2] Second, B.\n";
        assert_eq!(book_to_markdown(&book), expected);
    }

    #[test]
    fn every_kind_of_block_comes_back_as_it_was() {
        let blocks = [
            Block::Heading { level: 1, text: "A # heading #".into() },
            Block::Heading { level: 2, text: "*Deeper* C#".into() },
            paragraph(vec![
                text("plain "),
                Inline::Emphasis { text: "soft".into() },
                text(", "),
                Inline::Strong { text: "l*ou*d".into() },
                text(" "),
                Inline::Code { text: "`tick` | pipe".into() },
                text(" "),
                Inline::Link { text: "a [b]".into(), url: "https://x.example/?a=1&copy=(2)".into() },
                text("\nnext line"),
            ]),
            Block::List { ordered: true, items: vec![vec![text("1. one\n- two")], vec![text("# three")]] },
            Block::List { ordered: true, items: vec![vec![text("other list")]] },
            Block::List { ordered: false, items: vec![vec![text("x\n–\u{a0}y")]] },
            Block::Code { text: "```\n*a*\n  b".into() },
            Block::Table {
                header: vec![vec![text("a|b")], vec![]],
                rows: vec![vec![vec![Inline::Code { text: "c|d".into() }], vec![text("e")]]],
            },
            paragraph(vec![text("+ not a list")]),
        ];
        assert_eq!(round_trip(&blocks), blocks);
    }

    #[test]
    fn markup_in_user_text_appears_literally() {
        for line in [
            "#read(\"/etc/passwd\")",
            "$x$ *a* _b_ __c__ `d` <b>e</b> &amp; &#65; [f](g) ![h](i) [^1] ~~j~~ \\*",
            "1. a",
            "12) a",
            "- a",
            "--- ",
            "> a",
            "===",
            "| a | b |\n| - | - |",
            "    indented\n# b\n\\",
            "[a]: https://x.example",
            "~~~",
        ] {
            let wanted = line.lines().map(str::trim).collect::<Vec<_>>().join("\n");
            assert_eq!(
                round_trip(&[paragraph(vec![text(line)])]),
                [paragraph(vec![text(&wanted)])],
                "{line}"
            );
        }
    }

    #[test]
    fn emphasis_that_markdown_cannot_express_stays_as_plain_text() {
        let inlines = vec![text("a"), Inline::Emphasis { text: "(b)".into() }, text("c")];
        assert_eq!(round_trip(&[paragraph(inlines)]), [paragraph(vec![text("a(b)c")])]);
        let inlines = vec![Inline::Emphasis { text: "a".into() }, Inline::Strong { text: "b".into() }];
        let back = vec![Inline::Emphasis { text: "a".into() }, text("b")];
        assert_eq!(round_trip(&[paragraph(inlines)]), [paragraph(back)]);
    }

    proptest! {
        #[test]
        fn any_text_comes_back_word_for_word(line in r"[ -~äß–я]{1,40}(\n[ -~]{1,20})?") {
            let wanted: Vec<_> = line.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect();
            let back = round_trip(&[paragraph(vec![text(&line)])]);
            match wanted.join("\n") {
                wanted if wanted.is_empty() => prop_assert_eq!(back, []),
                wanted => prop_assert_eq!(back, [paragraph(vec![text(&wanted)])]),
            }
        }

        #[test]
        fn any_emphasis_keeps_its_words(before in "[a-c(). ]{0,3}", inner in "[a-c*(). ]{1,4}", after in "[a-c(). ]{0,3}") {
            let inlines = vec![text(&before), Inline::Emphasis { text: inner.clone() }, text(&after)];
            let section = Section { title: None, blocks: vec![paragraph(inlines)] };
            let back = blocks_from_markdown(&section_to_markdown(&section, &[], "en"));
            let words: String = match &back[..] {
                [Block::Paragraph { inlines, .. }] => inlines.iter().map(|inline| match inline {
                    Inline::Text { text } | Inline::Emphasis { text } => text.as_str(),
                    other => panic!("{other:?}"),
                }).collect(),
                [] => String::new(),
                other => panic!("{other:?}"),
            };
            let wanted = format!("{before}{inner}{after}");
            prop_assert_eq!(words, wanted.trim());
        }
    }
}
