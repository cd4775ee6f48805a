//! The files of a finished document: stored by its job, downloaded by its owner.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use quire_clock::World;
use quire_fault::Violation;

use crate::documents::{owned, status};
use crate::error::DocumentError;
use crate::files::Files;
use crate::spool::Spool;
use crate::store::exports as rows;
use crate::store::{DocumentRow, ExportRow, Store};
use crate::writing::{Fence, Writing, being_written};

/// The largest piece of a download.
const CHUNK_BYTES: usize = 256 * 1024;
/// A thousand pages are about 10 MiB; a job that sends more than this has gone wrong.
const MAX_EXPORT_BYTES: u64 = 512 * 1024 * 1024;
/// Characters of a title that go into a file name.
const MAX_NAME: usize = 100;

/// A file format of a finished document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Pdf,
    Markdown,
}

impl Format {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Markdown => "markdown",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Pdf, Self::Markdown].into_iter().find(|format| format.name() == name)
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Markdown => "md",
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Markdown => "text/markdown; charset=utf-8",
        }
    }
}

/// The part of a file that is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Bytes before the first one wanted.
    pub offset: i64,
    /// 0: all that follow.
    pub length: i64,
}

/// A file and its counted pages; 0 for formats without pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub row: ExportRow,
    pub pages: i32,
}

pub struct Exports {
    pub store: Store,
    pub files: Files,
    pub spool: Spool,
    pub writing: Arc<Writing>,
    pub world: World,
}

impl Exports {
    /// Stores a file of the document, in place of one of the same job and format. The files of an earlier job
    /// that were delivered stay until this one completes.
    ///
    /// # Errors
    /// Fenced; not being written; larger than 512 MiB; a stream that breaks off.
    pub async fn put<S>(
        &self,
        id: &str,
        fence: &Fence,
        format: Format,
        chunks: S,
    ) -> Result<Described, DocumentError>
    where
        S: Stream<Item = Result<Bytes, DocumentError>> + Unpin,
    {
        self.writing.check_fence(id, fence).await?;
        let spooled = self.spool.take(chunks, MAX_EXPORT_BYTES).await?;
        // The address names the content. The last part is new with every write, so that a write that fails
        // can take its file away without asking whether another row has the same content.
        let object_key = format!("exports/{id}/{}/{}", spooled.sha256, self.world.id());
        self.files.put(&object_key, spooled.path()).await?;
        let size = i64::try_from(spooled.size).unwrap_or(i64::MAX);
        let kept = self.keep(id, fence, format, (&object_key, &spooled.sha256, size)).await;
        match &kept {
            Ok((_, Some(replaced))) => self.files.remove([replaced.clone()]).await,
            Ok((_, None)) => {}
            Err(_) => self.files.remove([object_key]).await,
        }
        kept.map(|(row, _)| Described { row, pages: 0 })
    }

    /// Describes a file of the job that delivered last, also while a later job is at work or has failed.
    ///
    /// # Errors
    /// Not that user's; `DOCUMENT_NOT_READY` before the first delivery; no file of this format.
    pub async fn describe(
        &self,
        user_id: &str,
        id: &str,
        format: Format,
    ) -> Result<Described, DocumentError> {
        let document = owned(&self.store, user_id, id).await?;
        let Some(job_id) = &document.delivered_job_id else {
            return Err(DocumentError::NotReady(status(&document)?));
        };
        let row = self.store.export(id, job_id, format.name()).await?.ok_or(DocumentError::NoExport)?;
        let pages = match format {
            Format::Pdf => document.counted_pages,
            Format::Markdown => 0,
        };
        Ok(Described { row, pages })
    }

    /// The wanted bytes of a described file, straight from the store, in pieces of at most 256 KiB.
    ///
    /// # Errors
    /// A range outside the file; the file is gone.
    pub async fn read(
        &self,
        export: &Described,
        wanted: Wanted,
    ) -> Result<BoxStream<'static, Result<Bytes, DocumentError>>, DocumentError> {
        let range = range(wanted, export.row.size_bytes)?;
        if range.is_empty() {
            return Ok(futures::stream::empty().boxed());
        }
        let mut pieces = self.files.read(&export.row.object_key, range).await?;
        Ok(Box::pin(async_stream::try_stream! {
            let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
            while let Some(piece) = pieces.next().await {
                buffer.extend_from_slice(&piece?);
                while buffer.len() >= CHUNK_BYTES {
                    yield buffer.split_to(CHUNK_BYTES).freeze();
                }
            }
            if !buffer.is_empty() {
                yield buffer.freeze();
            }
        }))
    }

    /// Writes the row, and answers the key of the file it replaces.
    async fn keep(
        &self,
        id: &str,
        fence: &Fence,
        format: Format,
        (object_key, sha256, size_bytes): (&str, &str, i64),
    ) -> Result<(ExportRow, Option<String>), DocumentError> {
        let (transaction, document) = self.writing.open(id, fence).await?;
        being_written(&document)?;
        let replaced = rows::find(&transaction, id, &fence.job_id, format.name()).await?;
        let row = ExportRow {
            document_id: id.to_owned(),
            format: format.name().to_owned(),
            job_id: fence.job_id.clone(),
            file_name: file_name(&document, format),
            media_type: format.media_type().to_owned(),
            size_bytes,
            sha256: sha256.to_owned(),
            object_key: object_key.to_owned(),
            created_at: self.world.now().unix_micros(),
        };
        rows::put(&transaction, row.clone()).await?;
        transaction.commit().await?;
        Ok((row, replaced.map(|replaced| replaced.object_key)))
    }
}

/// The bytes wanted of a file of `size` bytes.
fn range(wanted: Wanted, size: i64) -> Result<Range<u64>, DocumentError> {
    let offset = Violation::range("offset", wanted.offset, 0, size);
    let length = Violation::range("length", wanted.length, 0, i64::MAX);
    let violations: Vec<Violation> = offset.into_iter().chain(length).collect();
    if !violations.is_empty() {
        return Err(DocumentError::Invalid(violations));
    }
    let end = if wanted.length == 0 { size } else { size.min(wanted.offset.saturating_add(wanted.length)) };
    let unsigned =
        |number: i64| u64::try_from(number).map_err(|_| DocumentError::Corrupt("size of an export"));
    Ok(unsigned(wanted.offset)?..unsigned(end)?)
}

/// The title with everything that a file system or a header could trip over replaced by `-`. Letters of all
/// scripts stay.
fn file_name(document: &DocumentRow, format: Format) -> String {
    let safe = |character: char| {
        if character.is_alphanumeric() || " _.,()".contains(character) { character } else { '-' }
    };
    let name: String = document.title.chars().map(safe).take(MAX_NAME).collect();
    let words = name.split([' ', '-']).filter(|word| !word.is_empty());
    let name = words.collect::<Vec<_>>().join("-");
    let name = name.trim_matches('.');
    let name = if name.chars().any(char::is_alphanumeric) { name } else { "document" };
    format!("{name}.{}", format.extension())
}

#[cfg(test)]
mod tests {
    use quire_fault::Rule;

    use super::*;

    #[test]
    fn a_range_ends_with_the_file() {
        let of = |offset, length| range(Wanted { offset, length }, 10);
        assert_eq!(of(0, 0).unwrap(), 0..10);
        assert_eq!(of(3, 4).unwrap(), 3..7);
        assert_eq!(of(8, 100).unwrap(), 8..10);
        assert_eq!(of(10, 0).unwrap(), 10..10);
        assert_eq!(of(1, i64::MAX).unwrap(), 1..10);
        let Err(DocumentError::Invalid(violations)) = of(11, -1) else { panic!("accepted") };
        let expected = [
            Violation::new("offset", Rule::LessThanEqual(10)),
            Violation::new("length", Rule::GreaterThanEqual(0)),
        ];
        assert_eq!(violations, expected);
    }
}
