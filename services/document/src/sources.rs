//! The files a customer supplies: taken in, read, kept, removed.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;
use quire_clock::World;
use quire_fault::Rule;

use crate::capacity::Capacities;
use crate::documents::{draft, owned};
use crate::error::DocumentError;
use crate::files::Files;
use crate::reader::{FileKind, ReadError, Reading, SourceReader};
use crate::spool::{Spool, Spooled};
use crate::store::sources as rows;
use crate::store::{SourceRow, Store};
use crate::text_rule;

/// The field of the multipart form, and of every complaint about a file.
const FIELD: &str = "file";
/// Sources of one document.
const MAX_SOURCES: i32 = 50;
const CHANGE_REFUSED: &str = "only the sources of a draft can be changed";
/// Pages in one read from the database while they are streamed.
const PAGES_AT_ONCE: u64 = 50;

pub struct Sources {
    pub store: Store,
    pub files: Files,
    pub spool: Spool,
    pub reader: SourceReader,
    pub capacities: Arc<Capacities>,
    /// Largest file, in bytes.
    pub max_bytes: u64,
    /// Most characters of all sources of a document together: its capacity is computed in memory.
    pub max_characters: i64,
    pub world: World,
}

/// One page of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePage {
    pub source_id: String,
    /// Counted from 1.
    pub page: i32,
    pub text: String,
}

impl Sources {
    /// Takes a file in, reads it and keeps both. The same content again answers the source that is there.
    /// Nothing is kept when anything fails.
    ///
    /// # Errors
    /// Not a draft of that user; too large; too many; too much text; of no known kind; or it cannot be read, which is a
    /// broken rule of `file` that names it.
    pub async fn upload<S>(
        &self,
        user_id: &str,
        document_id: &str,
        file_name: &str,
        chunks: S,
    ) -> Result<SourceRow, DocumentError>
    where
        S: Stream<Item = Result<Bytes, DocumentError>> + Unpin,
    {
        let document = owned(&self.store, user_id, document_id).await?;
        draft(&document, CHANGE_REFUSED)?;
        let file_name = clean_name(file_name)?;
        let kind = FileKind::from_name(&file_name)
            .ok_or_else(|| refused(&file_name, "only PDF, DOCX, TXT and Markdown files are read"))?;
        let spooled = self.spool.take(chunks, self.max_bytes).await?;
        if let Some(present) = self.store.source_with(document_id, &spooled.sha256).await? {
            return Ok(present);
        }
        let reading = self.read(&file_name, kind, &spooled).await?;
        let id = self.world.id();
        let row = SourceRow {
            object_key: format!("sources/{document_id}/{id}"),
            id,
            document_id: document_id.to_owned(),
            file_name,
            media_type: kind.media_type().to_owned(),
            size_bytes: i64::try_from(spooled.size).unwrap_or(i64::MAX),
            sha256: spooled.sha256.clone(),
            pages: i32::try_from(reading.pages.len()).unwrap_or(i32::MAX),
            has_pages: reading.has_pages,
            characters: i64::try_from(reading.characters()).unwrap_or(i64::MAX),
            created_at: self.world.now().unix_micros(),
        };
        // The file comes first: a crash between leaves a file without a row, which the next start removes.
        self.files.put(&row.object_key, spooled.path()).await?;
        let kept = self.keep(user_id, row.clone(), &reading.pages).await;
        if !matches!(&kept, Ok(present) if present.id == row.id) {
            self.files.remove([row.object_key]).await;
        }
        kept
    }

    /// The sources in order of upload, and how many pages they support without a language model.
    pub async fn list(
        &self,
        user_id: &str,
        document_id: &str,
    ) -> Result<(Vec<SourceRow>, i32), DocumentError> {
        let document = owned(&self.store, user_id, document_id).await?;
        let sources = self.store.sources(document_id).await?;
        Ok((sources, self.capacities.max_pages(&document).await?))
    }

    /// Removes a source of a draft.
    pub async fn delete(&self, user_id: &str, document_id: &str, id: &str) -> Result<(), DocumentError> {
        let document = owned(&self.store, user_id, document_id).await?;
        let source = self.store.source(document_id, id).await?.ok_or(DocumentError::NoSource)?;
        draft(&document, CHANGE_REFUSED)?;
        let transaction = self.store.begin_write().await?;
        if !rows::give_place(&transaction, (user_id, document_id), self.world.now()).await? {
            drop(transaction);
            return Err(self.why_no_change(user_id, document_id).await);
        }
        if !rows::delete(&transaction, document_id, id).await? {
            return Err(DocumentError::NoSource);
        }
        transaction.commit().await?;
        self.files.remove([source.object_key]).await;
        Ok(())
    }

    /// The text of every source, page by page, in order of upload.
    pub async fn read_all(
        &self,
        document_id: &str,
    ) -> Result<BoxStream<'static, Result<SourcePage, DocumentError>>, DocumentError> {
        self.store.document(document_id).await?.ok_or(DocumentError::NoDocument)?;
        let sources = self.store.sources(document_id).await?;
        let store = self.store.clone();
        Ok(Box::pin(async_stream::try_stream! {
            for source in sources {
                let mut after = 0;
                loop {
                    let pages = store.pages(&source.id, after, PAGES_AT_ONCE).await?;
                    let Some((last, _)) = pages.last() else { break };
                    after = *last;
                    for (page, text) in pages {
                        yield SourcePage { source_id: source.id.clone(), page, text };
                    }
                }
            }
        }))
    }

    async fn read(
        &self,
        file_name: &str,
        kind: FileKind,
        spooled: &Spooled,
    ) -> Result<Reading, DocumentError> {
        if spooled.size == 0 {
            return Err(refused(file_name, "the file is empty"));
        }
        let path = spooled.path().to_owned();
        let fits = tokio::task::spawn_blocking(move || kind.fits(&path)).await??;
        if !fits {
            let reason = format!("the content is not {}, although the name says so", kind.label());
            return Err(refused(file_name, &reason));
        }
        match self.reader.read(spooled.path(), kind).await {
            Ok(reading) => Ok(reading),
            Err(ReadError::Refused(refusal)) => Err(refused(file_name, &refusal.to_string())),
            Err(error @ (ReadError::Process(_) | ReadError::Protocol(_))) => {
                Err(DocumentError::Reader(error))
            }
        }
    }

    /// Writes the rows, unless the document changed meanwhile. Answers the source that was first when two
    /// uploads of the same file meet.
    async fn keep(
        &self,
        user_id: &str,
        row: SourceRow,
        pages: &[String],
    ) -> Result<SourceRow, DocumentError> {
        let document_id = row.document_id.clone();
        let transaction = self.store.begin_write().await?;
        let now = self.world.now();
        if !rows::take_place(&transaction, (user_id, &document_id), MAX_SOURCES, now).await? {
            drop(transaction);
            return Err(self.why_no_change(user_id, &document_id).await);
        }
        // The place that was taken holds the document's row, so no other upload can come between.
        let characters = rows::characters(&transaction, &document_id).await?;
        if characters.saturating_add(row.characters) > self.max_characters {
            return Err(DocumentError::TooMuchText { limit: self.max_characters });
        }
        match rows::insert(&transaction, row.clone(), pages).await {
            Ok(()) => {
                transaction.commit().await?;
                Ok(row)
            }
            Err(error) if quire_database::is_unique_violation(&error) => {
                drop(transaction);
                let present = self.store.source_with(&document_id, &row.sha256).await?;
                present.ok_or(DocumentError::Busy)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Why a change of the sources touched no row.
    async fn why_no_change(&self, user_id: &str, document_id: &str) -> DocumentError {
        match owned(&self.store, user_id, document_id).await {
            Err(error) => error,
            Ok(document) => match draft(&document, CHANGE_REFUSED) {
                Err(error) => error,
                Ok(()) => DocumentError::TooManySources { limit: MAX_SOURCES },
            },
        }
    }
}

/// The name without any folder, 1 to 255 characters, none of them a control character.
fn clean_name(file_name: &str) -> Result<String, DocumentError> {
    let name = file_name.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    match text_rule::line(FIELD, name, 1, 255) {
        Some(violation) => Err(DocumentError::Invalid(vec![violation])),
        None => Ok(name.to_owned()),
    }
}

fn refused(file_name: &str, reason: &str) -> DocumentError {
    DocumentError::field(FIELD, Rule::Value(format!("{file_name}: {reason}")))
}
