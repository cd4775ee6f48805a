//! How many pages a document's sources support without a language model.

use std::sync::Arc;

use quire_digest::{Corpus, PageMetrics, SourceText};
use tokio::sync::Semaphore;
use tracing::Instrument;

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
        let turn = self.one_at_a_time.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (store, id) = (self.store.clone(), row.id.clone());
        // A task of its own: a computation cannot be stopped, so it must keep its turn, and may as well keep
        // its result, when the client goes away.
        let computing = async move {
            let _turn = turn;
            compute(&store, &id).await
        };
        tokio::spawn(computing.in_current_span()).await?
    }
}

/// Computes the capacity, and stores it for the sources it was computed from.
async fn compute(store: &Store, id: &str) -> Result<i32, DocumentError> {
    // Whoever had the turn before may have computed this very one.
    let row = store.document(id).await?.ok_or(DocumentError::NoDocument)?;
    if let Some(known) = known(&row) {
        return Ok(known);
    }
    let sources = texts(store, id).await?;
    let compute = move || Corpus::build(&sources).capacity(&PageMetrics::default()).max_pages;
    let pages = i32::try_from(tokio::task::spawn_blocking(compute).await?).unwrap_or(i32::MAX);
    store.keep_capacity(id, row.sources_version, pages).await?;
    Ok(pages)
}

async fn texts(store: &Store, document_id: &str) -> Result<Vec<SourceText>, DocumentError> {
    let mut texts = Vec::new();
    for source in store.sources(document_id).await? {
        let mut pages: Vec<String> = Vec::new();
        loop {
            let after = i32::try_from(pages.len()).unwrap_or(i32::MAX);
            let more = store.pages(&source.id, after, PAGES_AT_ONCE).await?;
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

fn known(row: &DocumentRow) -> Option<i32> {
    row.capacity.filter(|_| row.capacity_version == Some(row.sources_version))
}

#[cfg(test)]
mod tests {
    use quire_clock::World;
    use quire_migrations::DocumentMigrator;

    use super::*;
    use crate::documents::Documents;
    use crate::files::Files;
    use crate::page_count::PageRule;
    use crate::spec::{Asked, SpecRules, Writer};
    use crate::store::{SourceRow, sources as rows};

    #[tokio::test]
    async fn a_result_is_stored_although_the_client_went_away() {
        let folder = tempfile::tempdir().unwrap();
        let settings = quire_database::Settings::sqlite(&folder.path().join("document.db"));
        let database = quire_database::open(&settings).await.unwrap();
        database.migrate::<DocumentMigrator>().await.unwrap();
        let store = Store::new(database);
        let row = with_a_source(&store, folder.path()).await;
        let capacities = Capacities::new(store.clone());

        let mut request = Box::pin(capacities.max_pages(&row));
        assert!(futures::poll!(request.as_mut()).is_pending());
        drop(request);
        assert_eq!(capacities.one_at_a_time.available_permits(), 0, "the computation keeps its turn");
        let _next = capacities.one_at_a_time.acquire().await.unwrap();
        let row = store.document(&row.id).await.unwrap().unwrap();
        assert!(known(&row).is_some());
    }

    async fn with_a_source(store: &Store, folder: &std::path::Path) -> DocumentRow {
        let world = World::system();
        let documents = Documents {
            store: store.clone(),
            files: Files::local(&folder.join("files")).unwrap(),
            rules: SpecRules {
                pages: PageRule::default(),
                writers: vec![Writer::Digest],
                default_writer: Writer::Digest,
            },
            world: world.clone(),
        };
        let asked = Asked { title: Some("On paper".to_owned()), ..Asked::default() };
        let document = documents.create(documents.world.id(), "ada", &asked).await.unwrap();
        let source = SourceRow {
            id: world.id(),
            document_id: document.id.clone(),
            file_name: "paper.txt".to_owned(),
            media_type: "text/plain".to_owned(),
            size_bytes: 24,
            sha256: "00".repeat(32),
            pages: 1,
            has_pages: false,
            characters: 24,
            object_key: "sources/paper".to_owned(),
            created_at: world.now().unix_micros(),
        };
        let transaction = store.begin_write().await.unwrap();
        assert!(rows::take_place(&transaction, ("ada", &document.id), 1, world.now()).await.unwrap());
        rows::insert(&transaction, source, &["Paper is made of fibres.".to_owned()]).await.unwrap();
        transaction.commit().await.unwrap();
        store.document(&document.id).await.unwrap().unwrap()
    }
}
