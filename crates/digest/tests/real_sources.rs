//! Digests of real manuals, with their contents pages, listings, footnotes and hyphenation.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::Path;

use quire_digest::{Corpus, PageMetrics, PlanRequest, SourceText, assign, is_verbatim, plan, write_section};
use quire_manuscript::{Block, Section};

/// The texts of manuals that lie beside the checkout; `None`, said in one line, where they do not.
fn read(names: &[&str]) -> Option<Vec<SourceText>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/sources");
    if !folder.is_dir() {
        // Past the test runner's capture, which would swallow the line.
        let line = format!("skipped: {} not found beside the checkout", names.join(", "));
        writeln!(std::io::stderr(), "{line}").expect("stderr is open");
        return None;
    }
    let source = |name: &&str| {
        let path = folder.join(name);
        let pages = std::panic::catch_unwind(|| pdf_extract::extract_text_by_pages(&path));
        let pages = pages.expect("extraction does not panic").expect("the file has text");
        SourceText { id: (*name).to_owned(), title: (*name).to_owned(), pages, has_pages: true }
    };
    Some(names.iter().map(source).collect())
}

/// Writes the whole document and checks what is promised of every digest.
fn digest(sources: &[SourceText], corpus: &Corpus, request: &PlanRequest<'_>) -> Vec<Section> {
    let metrics = PageMetrics::default();
    let planned = plan(corpus, request, &metrics);
    let assignment = assign(corpus, &planned);
    let sections: Vec<Section> = planned
        .keys()
        .iter()
        .map(|key| write_section(corpus, &planned, &assignment, key).expect("the assignment is fresh"))
        .collect();
    let mut seen = HashSet::new();
    for run in assignment.sections.iter().flat_map(|section| &section.runs) {
        assert!(run.sentences.iter().all(|sentence| seen.insert(*sentence)), "a sentence is used twice");
    }
    for section in &sections {
        assert!(
            section.blocks.iter().any(|block| matches!(block, Block::Quote { optional: None, .. })),
            "an empty section"
        );
        for block in &section.blocks {
            let Block::Quote { text, cite, .. } = block else {
                continue;
            };
            let source = sources.iter().find(|source| source.id == cite.source).expect("cites a source");
            let page = &source.pages[cite.page.expect("a PDF has pages") as usize - 1];
            assert!(is_verbatim(page, text), "not on page {:?} of {}: {text}", cite.page, cite.source);
            assert!(!text.contains(". . .") && !text.contains("----") && !text.contains('•'), "{text}");
        }
    }
    let budget = metrics.budget(request.target_pages);
    assert!(
        assignment.characters(corpus) * 100 >= budget * 95,
        "{} of {budget}",
        assignment.characters(corpus)
    );
    sections
}

fn most(corpus: &Corpus) -> u32 {
    corpus.capacity(&PageMetrics::default()).max_pages
}

#[test]
fn english_manuals_fill_fifty_pages_word_for_word() {
    let Some(sources) = read(&["debian-faq.en.pdf", "debian-policy.en.pdf"]) else {
        return;
    };
    let corpus = Corpus::build(&sources);
    let most = most(&corpus);
    assert!(most >= 50, "{most}");
    for target_pages in [50, most] {
        digest(
            &sources,
            &corpus,
            &PlanRequest { title: "Debian policy for packages", target_pages, ..PlanRequest::default() },
        );
    }
}

#[test]
fn a_russian_outline_finds_russian_passages() {
    let Some(sources) = read(&["debian-faq.ru.pdf", "maint-guide.ru.pdf"]) else {
        return;
    };
    let corpus = Corpus::build(&sources);
    assert_eq!(corpus.language(), "ru");
    let outline = ["Дистрибутивы и выпуски", "Установка пакетов"].map(str::to_owned);
    let request = PlanRequest {
        title: "Управление пакетами",
        outline: &outline,
        target_pages: 9,
        ..PlanRequest::default()
    };
    let sections = digest(&sources, &corpus, &request);
    let installing = sections.last().unwrap();
    let quotes: Vec<String> = installing
        .blocks
        .iter()
        .filter_map(|block| {
            if let Block::Quote { text, optional: None, .. } = block {
                Some(text.to_lowercase())
            } else {
                None
            }
        })
        .collect();
    let fitting = quotes.iter().filter(|text| text.contains("пакет") || text.contains("устан")).count();
    assert!(fitting * 10 >= quotes.len() * 8, "{fitting} of {}", quotes.len());
    digest(
        &sources,
        &corpus,
        &PlanRequest { title: "Debian", target_pages: most(&corpus), ..PlanRequest::default() },
    );
}

#[test]
fn a_german_manual_is_quoted_with_its_umlauts_and_compounds() {
    let Some(sources) = read(&["debian-faq.de.pdf"]) else {
        return;
    };
    let corpus = Corpus::build(&sources);
    assert_eq!(corpus.language(), "de");
    let sections = digest(
        &sources,
        &corpus,
        &PlanRequest { title: "Debian-Pakete verwalten", target_pages: 12, ..PlanRequest::default() },
    );
    let text: String = sections
        .iter()
        .flat_map(|section| &section.blocks)
        .filter_map(|block| if let Block::Quote { text, .. } = block { Some(text.as_str()) } else { None })
        .collect();
    assert!(text.contains('ü') && text.contains("Paketverwaltung"));
    // Words divided at a line's end are whole again.
    assert!(text.contains("Distributionen") && !text.contains("Softwarepa-") && !text.contains("Distri-"));
    digest(
        &sources,
        &corpus,
        &PlanRequest { title: "Debian", target_pages: most(&corpus), ..PlanRequest::default() },
    );
}

#[test]
fn an_italian_manual_gives_an_italian_outline() {
    let Some(sources) = read(&["debian-faq.it.pdf"]) else {
        return;
    };
    let corpus = Corpus::build(&sources);
    assert_eq!(corpus.language(), "it");
    let proposed = plan(
        &corpus,
        &PlanRequest { title: "Distribuzioni Debian", target_pages: 12, ..PlanRequest::default() },
        &PageMetrics::default(),
    );
    assert!(proposed.chapters.iter().any(|chapter| chapter.title.contains("distribuzione")), "{proposed:?}");
    digest(
        &sources,
        &corpus,
        &PlanRequest { title: "Distribuzioni Debian", target_pages: 12, ..PlanRequest::default() },
    );
    let again = Corpus::build(&sources);
    let request = PlanRequest { title: "Distribuzioni Debian", target_pages: 12, ..PlanRequest::default() };
    let replanned = plan(&again, &request, &PageMetrics::default());
    assert_eq!(proposed, replanned);
    assert_eq!(assign(&corpus, &proposed), assign(&again, &replanned));
}
