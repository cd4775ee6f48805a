//! Printing in spite of characters that no font has: each gives way to a sign that says that one is missing.

use std::collections::BTreeSet;

use quire_manuscript::{Block, Book, Inline, is_web_address};
use quire_typeset::{Typeset, TypesetError};

use crate::press::Press;

/// Stands where a character is missing.
const SIGN: char = '\u{fffd}';
/// The same where no font has even that.
const PLAIN_SIGN: char = '?';
/// So many characters are found one by one; a text with more is in a script that no font has.
const ONE_BY_ONE: usize = 32;
/// Layouts that may fail before the book does.
const MAX_LAYOUTS: usize = 64;

/// Prints the book, if need be with other characters in it. Gives those that were replaced, as `U+4E2D`, in order.
///
/// # Errors
/// As [`Press::print`]; [`TypesetError::MissingGlyph`] only when replacing does not help.
pub async fn print(
    press: &dyn Press,
    mut book: Book,
    pages: u32,
) -> Result<(Typeset, Vec<String>), TypesetError> {
    let mut sign = SIGN;
    let mut replaced = BTreeSet::new();
    let mut layouts = 0;
    loop {
        layouts += 1;
        let error = match press.print(&book, pages).await {
            Ok(printed) => return Ok((printed, replaced.into_iter().map(codepoint).collect())),
            Err(error) => error,
        };
        let TypesetError::MissingGlyph { codepoint, .. } = &error else { return Err(error) };
        let Some(missing) = character(codepoint).filter(|_| layouts < MAX_LAYOUTS) else {
            return Err(error);
        };
        if missing == SIGN {
            sign = PLAIN_SIGN;
        }
        let goes = |c: char| c == missing || (layouts > ONE_BY_ONE && range(c) == range(missing));
        let mut found = BTreeSet::new();
        each_text(&mut book, &mut |text| {
            if text.contains(goes) {
                found.extend(text.chars().filter(|c| goes(*c)));
                *text = text.chars().map(|c| if goes(c) { sign } else { c }).collect();
            }
        });
        // It does not stand in the text: the template brings it, and would bring it again.
        if found.is_empty() {
            return Err(error);
        }
        // The sign that was put there before is not one of the text's own characters.
        found.retain(|c| *c != SIGN || replaced.is_empty());
        replaced.extend(found);
    }
}

fn codepoint(character: char) -> String {
    format!("U+{:04X}", u32::from(character))
}

fn character(codepoint: &str) -> Option<char> {
    char::from_u32(u32::from_str_radix(codepoint.strip_prefix("U+")?, 16).ok()?)
}

/// Characters that stand or fall together: about a Unicode block; from the CJK radicals on, where blocks are
/// large, sixteen times 256 characters.
fn range(character: char) -> (bool, u32) {
    match u32::from(character) {
        point @ ..0x2e80 => (false, point >> 7),
        point => (true, point >> 12),
    }
}

/// Every text of the book that is printed.
fn each_text(book: &mut Book, change: &mut impl FnMut(&mut String)) {
    change(&mut book.meta.title);
    book.meta.subtitle.iter_mut().for_each(&mut *change);
    change(&mut book.meta.disclosure);
    for chapter in &mut book.chapters {
        change(&mut chapter.title);
        for section in &mut chapter.sections {
            section.title.iter_mut().for_each(&mut *change);
            section.blocks.iter_mut().for_each(|block| each_text_of_block(block, change));
        }
    }
    book.references.iter_mut().for_each(|reference| change(&mut reference.text));
}

fn each_text_of_block(block: &mut Block, change: &mut impl FnMut(&mut String)) {
    let runs: Vec<&mut Vec<Inline>> = match block {
        Block::Heading { text, .. } | Block::Quote { text, .. } | Block::Code { text } => {
            return change(text);
        }
        Block::Paragraph { inlines, .. } => vec![inlines],
        Block::List { items, .. } => items.iter_mut().collect(),
        Block::Table { header, rows } => header.iter_mut().chain(rows.iter_mut().flatten()).collect(),
    };
    for inline in runs.into_iter().flatten() {
        match inline {
            Inline::Text { text }
            | Inline::Emphasis { text }
            | Inline::Strong { text }
            | Inline::Code { text } => change(text),
            Inline::Link { text, url } => {
                // An address is printed where there is no text, or nothing to click on.
                if text.trim().is_empty() {
                    text.clone_from(url);
                }
                change(text);
                if !is_web_address(url) {
                    change(url);
                }
            }
            Inline::Cite { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use quire_manuscript::{Chapter, Cite, Meta, Reference, Section};

    use super::*;

    /// Has the characters that `covers` says; looks at the book in its JSON form, without what is never printed.
    struct Font {
        covers: fn(char) -> bool,
        layouts: AtomicUsize,
    }

    #[async_trait]
    impl Press for Font {
        async fn print(&self, book: &Book, pages: u32) -> Result<Typeset, TypesetError> {
            self.layouts.fetch_add(1, Ordering::SeqCst);
            let mut printed = book.clone();
            printed.chapters.iter_mut().flat_map(|chapter| &mut chapter.sections).for_each(|section| {
                section.blocks.iter_mut().for_each(|block| {
                    if let Block::Paragraph { inlines, .. } = block {
                        inlines.iter_mut().for_each(|inline| {
                            if let Inline::Link { url, .. } = inline {
                                url.clear();
                            }
                        });
                    }
                });
            });
            let text = serde_json::to_string(&printed).unwrap();
            match text.chars().find(|c| !(self.covers)(*c)) {
                Some(missing) => {
                    Err(TypesetError::MissingGlyph { codepoint: codepoint(missing), near: String::new() })
                }
                None => Ok(Typeset { pdf: Vec::new(), pages, book: book.clone(), headings: Vec::new() }),
            }
        }
    }

    fn font(covers: fn(char) -> bool) -> Font {
        Font { covers, layouts: AtomicUsize::new(0) }
    }

    /// The text in every place that has text.
    fn book(text: &str) -> Book {
        let run = || {
            let text = text.to_owned();
            vec![
                Inline::Text { text: text.clone() },
                Inline::Emphasis { text: text.clone() },
                Inline::Strong { text: text.clone() },
                Inline::Code { text: text.clone() },
                Inline::Link { text: text.clone(), url: format!("https://example.org/{text}") },
            ]
        };
        let text = || text.to_owned();
        let cite = Cite { source: "s".to_owned(), page: None };
        Book {
            meta: Meta {
                title: text(),
                subtitle: Some(text()),
                language: "en".to_owned(),
                date: "2026-11-23".to_owned(),
                disclosure: text(),
            },
            chapters: vec![Chapter {
                title: text(),
                sections: vec![Section {
                    title: Some(text()),
                    blocks: vec![
                        Block::Heading { level: 1, text: text() },
                        Block::Paragraph { inlines: run(), optional: None },
                        Block::Quote { text: text(), cite, optional: None },
                        Block::List { ordered: false, items: vec![run()] },
                        Block::Code { text: text() },
                        Block::Table { header: vec![run()], rows: vec![vec![run()]] },
                    ],
                }],
            }],
            references: vec![Reference { id: "s".to_owned(), text: text() }],
        }
    }

    fn links_unchanged(book: &Book) -> bool {
        serde_json::to_string(book).unwrap().contains("https://example.org/a中b")
    }

    #[tokio::test]
    async fn a_missing_character_is_replaced_wherever_it_is_printed() {
        let font = font(|c| c.is_ascii() || c == SIGN);
        let mut whole = book("a中b");
        if let Block::List { items, .. } = &mut whole.chapters[0].sections[0].blocks[3] {
            items[0].pop();
        }
        if let Block::Table { header, rows } = &mut whole.chapters[0].sections[0].blocks[5] {
            header[0].pop();
            rows[0][0].pop();
        }
        let (printed, replaced) = print(&font, whole, 6).await.unwrap();
        assert_eq!(replaced, ["U+4E2D"]);
        assert!(links_unchanged(&printed.book));
        assert_eq!(printed.book.meta.title, "a\u{fffd}b");
        assert_eq!(font.layouts.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_font_without_the_sign_gets_a_question_mark() {
        let (printed, replaced) = print(&font(|c| c.is_ascii()), plain("a中b書"), 6).await.unwrap();
        assert_eq!(replaced, ["U+4E2D", "U+66F8"]);
        assert_eq!(printed.book.meta.title, "a?b?");
    }

    #[tokio::test]
    async fn a_script_without_a_font_takes_few_layouts() {
        let han: String = ('\u{4e00}'..='\u{9fff}').collect();
        let font = font(|c| c.is_ascii() || c == SIGN);
        let (printed, replaced) = print(&font, plain(&format!("a{han}b")), 6).await.unwrap();
        assert_eq!(replaced.len(), han.chars().count());
        assert!(printed.book.meta.title.starts_with("a\u{fffd}"));
        assert!(font.layouts.load(Ordering::SeqCst) < MAX_LAYOUTS);
    }

    #[tokio::test]
    async fn what_does_not_stand_in_the_text_cannot_be_replaced() {
        let font = font(|c| c != '{');
        let error = print(&font, plain("a"), 6).await.unwrap_err();
        assert!(matches!(error, TypesetError::MissingGlyph { codepoint, .. } if codepoint == "U+007B"));
        assert_eq!(font.layouts.load(Ordering::SeqCst), 1);
    }

    /// A book with the text only in its title.
    fn plain(text: &str) -> Book {
        let mut book = book("");
        book.chapters.clear();
        book.meta.title = text.to_owned();
        book
    }
}
