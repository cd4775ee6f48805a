//! Where a book becomes a PDF: in a child process, or in a test inside the process.

use async_trait::async_trait;
use quire_manuscript::Book;
use quire_typeset::{Typeset, TypesetError, Typesetter};

/// Typesets books.
#[async_trait]
pub trait Press: Send + Sync {
    /// As much of the book as fits on the pages.
    ///
    /// # Errors
    /// As [`Typesetter::typeset`].
    async fn print(&self, book: &Book, pages: u32) -> Result<Typeset, TypesetError>;
}

#[async_trait]
impl Press for Typesetter {
    async fn print(&self, book: &Book, pages: u32) -> Result<Typeset, TypesetError> {
        self.typeset(book, Some(pages)).await
    }
}
