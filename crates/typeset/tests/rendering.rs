//! Books to PDF inside this process; the PDFs are read by an independent reader.

#![expect(clippy::unwrap_used, reason = "a test program: a panic is its way to fail")]

mod sample;

use lopdf::{Document, Object};
use quire_manuscript::{Block, Book, Chapter, Cite, Inline, Reference, Section, blocks_from_markdown};
use quire_typeset::{RenderError, fit, render};
use sample::{paragraph, text};

fn open(pdf: &[u8]) -> Document {
    Document::load_mem(pdf).unwrap()
}

fn page_text(document: &Document, page: u32) -> String {
    // The reader sets blanks and line ends around each change of font.
    document
        .extract_text(&[page])
        .unwrap()
        .split(['\n', ' '])
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A one-chapter book with the given blocks.
fn book_of(blocks: Vec<Block>) -> Book {
    let mut book = sample::book(0, 0);
    book.chapters = vec![Chapter { title: "Only".into(), sections: vec![Section { title: None, blocks }] }];
    book
}

#[test]
fn counted_pages_and_heading_pages_are_those_of_the_file() {
    let rendered = render(&sample::book(4, 10)).unwrap();
    let document = open(&rendered.pdf);
    assert_eq!(document.get_pages().len(), rendered.pages as usize);
    assert!(rendered.pages > 6, "{} pages", rendered.pages);
    assert_eq!(rendered.headings.len(), 4 * 3 + 1);
    let contents = page_text(&document, 2);
    for heading in &rendered.headings {
        let page = page_text(&document, heading.page);
        assert!(page.contains(&heading.text), "{heading:?} is not on its page: {page}");
        let entry = contents.split(&heading.text).nth(1).unwrap();
        let number = entry.trim_start_matches([' ', '.']).split(' ').next().unwrap();
        assert_eq!(number, heading.page.to_string(), "{heading:?} in {contents}");
    }
    let bookmarks = document.get_toc().unwrap().toc;
    let pages: Vec<_> = bookmarks.iter().map(|entry| entry.page as u32).collect();
    assert_eq!(pages, rendered.headings.iter().map(|heading| heading.page).collect::<Vec<_>>());
}

#[test]
fn title_page_quotes_and_references_are_printed() {
    let rendered = render(&sample::book(1, 2)).unwrap();
    let document = open(&rendered.pdf);
    let title = page_text(&document, 1);
    for line in ["Ice in the harbour", "A digest of seven sources", "2026-11-23", "no language model"] {
        assert!(title.contains(line), "{line} is missing in {title}");
    }
    let body = page_text(&document, 3);
    assert!(body.contains("[1, p.\u{a0}1]"), "{body}");
    let last = page_text(&document, rendered.pages);
    assert!(last.contains("References") && last.contains("Author 6, A.: A history of ice"), "{last}");
}

#[test]
fn the_same_book_gives_the_same_bytes_and_another_date_gives_others() {
    let mut book = sample::book(2, 3);
    let first = render(&book).unwrap().pdf;
    assert!(first == render(&book).unwrap().pdf);
    book.meta.date = "2026-11-24".into();
    assert!(first != render(&book).unwrap().pdf);
}

#[test]
fn metadata_name_title_language_and_how_the_text_was_made() {
    let mut book = sample::book(1, 1);
    book.meta.language = "de".into();
    let document = open(&render(&book).unwrap().pdf);
    assert_eq!(document.catalog().unwrap().get(b"Lang").unwrap().as_str().unwrap(), b"de");
    let (_, info) = document.dereference(document.trailer.get(b"Info").unwrap()).unwrap();
    let entry = |key: &[u8]| match info.as_dict().unwrap().get(key).unwrap() {
        Object::String(bytes, _) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(entry(b"Title"), book.meta.title);
    assert_eq!(entry(b"Keywords"), book.meta.disclosure);
}

#[test]
fn markup_of_the_typesetter_appears_literally() {
    let hostile = "#read(\"/etc/passwd\") $x$ *a* _b_ `c` <d> @e // f /* g #panic() \\ & ]]> \u{200f}h";
    let shown = hostile.replace('\u{200f}', "");
    let mut book = book_of(vec![
        paragraph(hostile),
        Block::Heading { level: 1, text: hostile.into() },
        Block::List { ordered: true, items: vec![vec![text(hostile)]] },
        Block::Code { text: hostile.into() },
        Block::Table { header: vec![vec![text(hostile)]], rows: vec![vec![vec![text(hostile)]]] },
        Block::Quote {
            text: hostile.into(),
            cite: Cite { source: hostile.into(), page: None },
            optional: None,
        },
    ]);
    book.meta.title = hostile.into();
    book.meta.disclosure = hostile.into();
    book.chapters[0].title = hostile.into();
    book.references = vec![Reference { id: hostile.into(), text: hostile.into() }];
    let rendered = render(&book).unwrap();
    let document = open(&rendered.pdf);
    let all: String = (1..=rendered.pages).map(|page| page_text(&document, page)).collect();
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    let count = squeezed(&all).matches(&squeezed(&shown)).count();
    // Title and disclosure, contents, chapter, six blocks (the table twice), the reference.
    assert!(count >= 11, "found {count} times in {all}");
}

#[test]
fn a_character_without_a_glyph_is_an_error_that_names_it() {
    let named = |book: &Book| match render(book) {
        Err(RenderError::MissingGlyph { codepoint, near }) => (codepoint, near),
        other => panic!("{other:?}"),
    };
    let (codepoint, near) = named(&book_of(vec![paragraph("before the 中 sign")]));
    assert_eq!(codepoint, "U+4E2D");
    assert!(near.contains('中'), "{near}");
    assert_eq!(named(&book_of(vec![Block::Code { text: "x = '漢'".into() }])).0, "U+6F22");
    let mut book = sample::book(1, 1);
    book.references[0].text.push('ก');
    assert_eq!(named(&book).0, "U+0E01");
}

#[test]
fn characters_that_are_not_for_print_do_no_harm() {
    let odd =
        "tab\there, bell\u{7}, form\u{c}feed, soft\u{ad}hyphen, mark\u{feff}, zero\u{200b}width, \r\nline";
    let rendered =
        render(&book_of(vec![paragraph(odd), Block::Code { text: "\tx\r\n\ty\n".into() }])).unwrap();
    let body = page_text(&open(&rendered.pdf), 3);
    assert!(body.contains("tab here, bell, form"), "{body}");
}

#[test]
fn empty_parts_do_not_break_the_layout() {
    let blocks = vec![
        Block::Heading { level: 9, text: " ".into() },
        Block::Heading { level: 0, text: "Zero".into() },
        paragraph(""),
        Block::List { ordered: false, items: vec![] },
        Block::List { ordered: true, items: vec![vec![]] },
        Block::Code { text: String::new() },
        Block::Table { header: vec![], rows: vec![] },
        Block::Table { header: vec![vec![text("a")]], rows: vec![vec![], vec![vec![], vec![text("b")]]] },
        Block::Paragraph {
            inlines: vec![
                Inline::Link { text: String::new(), url: "https://x.example".into() },
                Inline::Link { text: "y".into(), url: String::new() },
                Inline::Code { text: String::new() },
            ],
            optional: None,
        },
    ];
    let mut book = book_of(blocks);
    book.meta.title = String::new();
    book.meta.subtitle = None;
    book.meta.disclosure = String::new();
    book.chapters[0].title = String::new();
    book.chapters[0].sections.push(Section { title: Some(String::new()), blocks: vec![] });
    book.chapters.push(Chapter { title: "\n".into(), sections: vec![] });
    book.references = vec![];
    let rendered = render(&book).unwrap();
    assert_eq!(rendered.headings.len(), 3);
    book.chapters = vec![];
    assert_eq!(render(&book).unwrap().headings, []);
}

#[test]
fn every_offered_language_is_typeset_with_its_own_words() {
    for (language, sentence, contents) in [
        ("en", "Plain words.", "Contents"),
        ("de", "Größe, Übermaß und Straße.", "Inhalt"),
        ("fr", "L’œuvre où naît l’été.", "Table des matières"),
        ("it", "Perché è così.", "Indice"),
        ("es", "¿Qué mañana, señor?", "Índice"),
        ("ru", "Съешь ещё этих мягких булок.", "Содержание"),
        ("uk", "Їжак і ґанок, «подія».", "Зміст"),
        ("el", "Ξεσκεπάζω την ψυχοφθόρα.", "Contents"),
    ] {
        let mut book = book_of(vec![paragraph(sentence)]);
        book.meta.language = language.into();
        let document = open(&render(&book).unwrap().pdf);
        assert!(page_text(&document, 2).contains(contents), "{language}");
        assert!(page_text(&document, 3).contains(sentence), "{language}: {}", page_text(&document, 3));
    }
}

#[test]
fn markdown_of_a_writer_reaches_the_page_without_markers() {
    let markdown =
        "Some **bold** and *soft* text with `code`.\n\n## Inner\n\n1. one\n   - two\n\n|a|b|\n|-|-|\n|c|d|\n";
    let rendered = render(&book_of(blocks_from_markdown(markdown))).unwrap();
    let body = page_text(&open(&rendered.pdf), 3);
    assert!(body.contains("Some bold and soft text with code ."), "{body}");
    assert!(!body.contains("**") && !body.contains("##") && !body.contains('|'), "{body}");
}

#[test]
fn a_book_that_contradicts_itself_is_refused() {
    let refused = |change: &dyn Fn(&mut Book)| {
        let mut book = sample::book(1, 1);
        change(&mut book);
        matches!(render(&book), Err(RenderError::InvalidBook(_)))
    };
    assert!(refused(&|book| book.references.clear()));
    assert!(refused(&|book| book.meta.date = "yesterday".into()));
    assert!(refused(&|book| book.meta.language = "english".into()));
    assert!(!refused(&|_| {}));
}

#[test]
fn optional_blocks_fill_exactly_the_pages_ordered() {
    let book = sample::book(4, 20);
    for target in [6, 9, 12] {
        let fitted = fit(&book, target).unwrap();
        assert_eq!(fitted.rendered.pages, target, "{} layouts", fitted.layouts);
        assert_eq!(open(&fitted.rendered.pdf).get_pages().len(), target as usize);
        // What the caller stores as the document is what was printed.
        let printed = book.without_optional_from(fitted.limit.unwrap());
        assert!(fitted.rendered.pdf == render(&printed).unwrap().pdf);
    }
}

#[test]
fn a_book_outside_the_reach_of_its_optional_blocks_comes_whole_or_bare() {
    let book = sample::book(2, 6);
    let whole = fit(&book, 100).unwrap();
    assert_eq!((whole.limit, whole.layouts), (None, 1));
    assert_eq!(whole.rendered.pages, render(&book).unwrap().pages);
    let bare = fit(&book, 1).unwrap();
    assert!(bare.rendered.pages > 1);
    assert_eq!(bare.rendered.pages, render(&book.without_optional_from(0)).unwrap().pages);
}

#[test]
fn many_short_chapters_meet_the_pages_ordered_where_new_pages_for_each_would_not() {
    let mut book = sample::book(20, 14);
    let sections = book.chapters.iter_mut().flat_map(|chapter| &mut chapter.sections);
    for block in sections.flat_map(|section| &mut section.blocks) {
        if let Block::Quote { optional, .. } = block {
            *optional = optional.filter(|rank| *rank >= 11_000);
        }
    }
    // Long enough for chapters on new pages, which leave more pages half empty than may be left out.
    let bare = render(&book.without_optional_from(0)).unwrap().pages;
    let target = bare - 5;
    assert!(target >= 40, "{bare} pages");
    let fitted = fit(&book, target).unwrap();
    assert_eq!(fitted.rendered.pages, target, "{} layouts", fitted.layouts);
}
