//! The block tree of a document: the only truth about its text.
//!
//! Writers produce blocks, the document service stores them as JSON, and every renderer (PDF, Markdown)
//! reads the same tree, so that an edit is in all formats and no raw markup leaks into any.

mod book;
mod labels;
mod markdown;

pub use book::{Block, Book, Chapter, Cite, Inline, Meta, Reference, Section, is_web_address};
pub use labels::Labels;
pub use markdown::{blocks_from_markdown, book_to_markdown, section_to_markdown};
