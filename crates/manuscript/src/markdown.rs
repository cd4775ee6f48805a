//! Markdown in (model output) and out (the `md` export).

mod escape;
mod read;
mod runs;
mod write;

pub use read::blocks_from_markdown;
pub use write::{book_to_markdown, section_to_markdown};
