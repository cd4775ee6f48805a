//! How many pages a document's sources support without a language model.

use std::sync::Arc;

use quire_digest::{Corpus, PageMetrics, SourceText};
use tokio::sync::Semaphore;

use crate::error::DocumentError;
use crate::store::{DocumentRow, Store};

/// Pages of text in one read from the database.
const PAGES_AT_ONCE: u64 = 500;

/// Computes capacities, one at a time, and keeps them until the sources change.
pub struct Capacities {
    store: Store,
    one_at_a_time: Arc<Semaphore>,
}

impl Capacities {
    pub fn new(store: Store) -> Self {
        Self { store, one_at_a_time: Arc::new(Semaphore::new(1)) }
    }

    /// The largest number of pages that can be ordered as a digest; 0 without sources.
    ///
    /// # Errors
    /// The database fails.
    pub async fn max_pages(&self, row: &DocumentRow) -> Result<i32, DocumentError> {
        if row.source_count == 0 {
            return Ok(0);
        }
        if let Some(known) = known(row) {
            return Ok(known);
        }
        let _turn = self.one_at_a_time.acquire().await.expect("the semaphore is never closed");
        // Whoever had the turn before may have computed this very one.
        let row = self.store.document(&row.id).await?.ok_or(DocumentError::NoDocument)?;
        if let Some(known) = known(&row) {
            return Ok(known);
        }
        let sources = self.texts(&row.id).await?;
        let compute = move || Corpus::build(&sources).capacity(&PageMetrics::default()).max_pages;
        let pages = i32::try_from(tokio::task::spawn_blocking(compute).await?).unwrap_or(i32::MAX);
        self.store.keep_capacity(&row.id, row.sources_version, pages).await?;
        Ok(pages)
    }

    async fn texts(&self, document_id: &str) -> Result<Vec<SourceText>, DocumentError> {
        let mut texts = Vec::new();
        for source in self.store.sources(document_id).await? {
            let mut pages: Vec<String> = Vec::new();
            loop {
                let after = i32::try_from(pages.len()).unwrap_or(i32::MAX);
                let more = self.store.pages(&source.id, after, PAGES_AT_ONCE).await?;
                if more.is_empty() {
                    break;
                }
                pages.extend(more.into_iter().map(|(_, text)| text));
            }
            texts.push(SourceText {
                title: quire_digest::source_title(&source.file_name, &pages, source.has_pages),
                id: source.id,
                has_pages: source.has_pages,
                pages,
            });
        }
        Ok(texts)
    }
}

fn known(row: &DocumentRow) -> Option<i32> {
    row.capacity.filter(|_| row.capacity_version == Some(row.sources_version))
}
