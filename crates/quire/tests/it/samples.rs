//! The source files that the repository ships, and their text.

use std::path::PathBuf;

pub const PDF: &str = "the-making-of-paper.pdf";
pub const DOCX: &str = "how-a-book-is-bound.docx";
pub const MARKDOWN: &str = "from-sheet-to-page.md";
pub const TEXT: &str = "keeping-books-and-paper.txt";
pub const ALL: [&str; 4] = [PDF, DOCX, MARKDOWN, TEXT];

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../samples")
}

pub fn read(name: &str) -> Vec<u8> {
    let path = folder().join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Everything the samples say; those that are not plain text by the Markdown they were made from.
pub fn letters_of_all() -> String {
    let files = ["src/the-making-of-paper.md", "src/how-a-book-is-bound.md", MARKDOWN, TEXT];
    files.map(|name| letters(&String::from_utf8(read(name)).unwrap())).join("\n")
}

/// Only the letters, in lower case: what a line break, a hyphen or an escape cannot change.
pub fn letters(text: &str) -> String {
    text.chars().filter(|char| char.is_alphabetic()).flat_map(char::to_lowercase).collect()
}

/// The pages of a PDF, counted by another library than the one that made them.
pub fn pages_of(pdf: &[u8]) -> usize {
    lopdf::Document::load_mem(pdf).expect("a PDF that can be read").get_pages().len()
}
