//! Writes a digest of PDF files as plain text: `compose <pages> <title> <out.txt> <file.pdf>...`.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::fmt::Write as _;
use std::time::Instant;

use quire_digest::{Corpus, PageMetrics, PlanRequest, SourceText, assign, plan, references, write_section};
use quire_manuscript::{Block, Inline};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [pages, title, out, files @ ..] = arguments.as_slice() else {
        println!("compose <pages> <title> <out.txt> <file.pdf>...");
        return;
    };
    let sources: Vec<SourceText> = files.iter().map(|path| read(path)).collect();
    let metrics = PageMetrics::default();
    let start = Instant::now();
    let corpus = Corpus::build(&sources);
    let built = start.elapsed();
    let capacity = corpus.capacity(&metrics);
    println!(
        "{} sentences, {capacity:?}, language {}, ingest {built:?}",
        corpus.sentence_count(),
        corpus.language()
    );
    let start = Instant::now();
    let request = PlanRequest {
        title,
        target_pages: pages.parse().expect("a number of pages"),
        ..PlanRequest::default()
    };
    let plan = plan(&corpus, &request, &metrics);
    let planned = start.elapsed();
    let assignment = assign(&corpus, &plan);
    let assigned = start.elapsed() - planned;
    let mut text = String::new();
    for chapter in &plan.chapters {
        writeln!(text, "# {}\n", chapter.title).expect("a string grows");
        for section in &chapter.sections {
            writeln!(
                text,
                "## [{}] {} ({}) {:?}\n",
                section.key,
                section.title.as_deref().unwrap_or(""),
                section.character_budget,
                section.query_terms
            )
            .expect("a string grows");
            let written =
                write_section(&corpus, &plan, &assignment, &section.key).expect("the assignment is fresh");
            written.blocks.iter().for_each(|block| show(&mut text, block));
        }
    }
    println!("plan {planned:?}, assign {assigned:?}, all {:?}", start.elapsed() + built);
    let wanted: u64 =
        plan.chapters.iter().flat_map(|c| &c.sections).map(|s| u64::from(s.character_budget)).sum();
    println!("budget {wanted}, filled {}", assignment.characters(&corpus));
    for reference in references(&corpus, &plan, &assignment) {
        writeln!(text, "[{}] {}", reference.id, reference.text).expect("a string grows");
    }
    std::fs::write(out, text).expect("the file can be written");
}

fn read(path: &str) -> SourceText {
    let title = std::path::Path::new(path)
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    if path.ends_with(".pdf") {
        let pages = pdf_extract::extract_text_by_pages(path).expect("the file has text");
        return SourceText { id: path.to_owned(), title, pages, has_pages: true };
    }
    let text = std::fs::read_to_string(path).expect("the file is text");
    SourceText { id: path.to_owned(), title, pages: vec![text], has_pages: false }
}

fn show(out: &mut String, block: &Block) {
    let mark = block.optional().map_or(String::new(), |rank| format!("(optional {rank}) "));
    match block {
        Block::Quote { text, cite, .. } => writeln!(out, "{mark}> {text} [p. {:?}]\n", cite.page),
        Block::Paragraph { inlines, .. } => {
            let text: String = inlines
                .iter()
                .map(|inline| if let Inline::Text { text } = inline { text.as_str() } else { "" })
                .collect();
            writeln!(out, "{mark}{text}\n")
        }
        other => writeln!(out, "{other:?}\n"),
    }
    .expect("a string grows");
}
