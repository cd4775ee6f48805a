//! Presses: one that prints nothing, the real layout, and one that breaks.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use quire_background_job::Press;
use quire_manuscript::Book;
use quire_typeset::{RenderError, Typeset, TypesetError};
use tokio::sync::watch;

/// Prints nothing, quickly.
pub struct FixedPress {
    pages: u32,
    pub books: Mutex<Vec<Book>>,
}

impl FixedPress {
    pub fn pages(pages: u32) -> Self {
        Self { pages, books: Mutex::default() }
    }
}

#[async_trait]
impl Press for FixedPress {
    async fn print(&self, book: &Book, _: u32) -> Result<Typeset, TypesetError> {
        self.books.lock().unwrap().push(book.clone());
        Ok(Typeset {
            pdf: b"%PDF-test".to_vec(),
            pages: self.pages,
            book: book.clone(),
            headings: Vec::new(),
        })
    }
}

/// The real layout, inside the process.
pub struct InProcessPress;

#[async_trait]
impl Press for InProcessPress {
    async fn print(&self, book: &Book, pages: u32) -> Result<Typeset, TypesetError> {
        let book = book.clone();
        let task = tokio::task::spawn_blocking(move || {
            let fitted = quire_typeset::fit(&book, pages).map_err(|error| match error {
                RenderError::MissingGlyph { codepoint, near } => {
                    TypesetError::MissingGlyph { codepoint, near }
                }
                other => panic!("{other}"),
            })?;
            let printed = match fitted.limit {
                Some(limit) => book.without_optional_from(limit),
                None => book,
            };
            let rendered = fitted.rendered;
            let (pdf, pages, headings) = (rendered.pdf, rendered.pages, rendered.headings);
            Ok(Typeset { pdf, pages, book: printed, headings })
        });
        task.await.unwrap()
    }
}

/// Waits for the sign before it prints nothing.
pub struct WaitingPress {
    pub asked: watch::Sender<bool>,
    pub sign: watch::Sender<bool>,
}

impl WaitingPress {
    pub fn new() -> Self {
        Self { asked: watch::Sender::new(false), sign: watch::Sender::new(false) }
    }
}

#[async_trait]
impl Press for WaitingPress {
    async fn print(&self, book: &Book, pages: u32) -> Result<Typeset, TypesetError> {
        self.asked.send_replace(true);
        self.sign.subscribe().wait_for(|given| *given).await.unwrap();
        FixedPress::pages(2).print(book, pages).await
    }
}

/// Takes too long each time.
#[derive(Default)]
pub struct SlowPress {
    pub tries: AtomicUsize,
}

#[async_trait]
impl Press for SlowPress {
    async fn print(&self, _: &Book, _: u32) -> Result<Typeset, TypesetError> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        Err(TypesetError::Timeout { limit: Duration::from_secs(1) })
    }
}

/// Panics each time.
#[derive(Default)]
pub struct BrokenPress {
    pub tries: AtomicUsize,
}

#[async_trait]
impl Press for BrokenPress {
    async fn print(&self, _: &Book, _: u32) -> Result<Typeset, TypesetError> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        panic!("the press breaks");
    }
}
