//! The file store: uploaded sources and finished exports, by key.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use quire_clock::Timestamp;
use tokio::io::AsyncReadExt;

use crate::error::DocumentError;

/// Files up to this size are stored in one go, larger ones in parts of it.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts under way at a time.
const PARTS_AT_ONCE: usize = 2;

/// The store of one installation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
}

impl Files {
    /// A local folder, made if it is missing. A file is on disk before it counts as stored.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn local(folder: &FilePath) -> Result<Self, DocumentError> {
        std::fs::create_dir_all(folder)?;
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self { store: Arc::new(store) })
    }

    /// Stores a copy of the file under the key. Readers see the whole file or none.
    ///
    /// # Errors
    /// The file cannot be read, or the store refuses.
    pub async fn put(&self, key: &str, file: &FilePath) -> Result<(), DocumentError> {
        let key = Path::parse(key).map_err(object_store::Error::from)?;
        let mut file = tokio::fs::File::open(file).await?;
        let first = read_part(&mut file).await?;
        if first.len() < PART_BYTES {
            self.store.put(&key, PutPayload::from(first)).await?;
            return Ok(());
        }
        let upload = self.store.put_multipart(&key).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut part = first;
        while !part.is_empty() {
            upload.wait_for_capacity(PARTS_AT_ONCE).await?;
            upload.put(part);
            part = match read_part(&mut file).await {
                Ok(part) => part,
                Err(error) => {
                    upload.abort().await?;
                    return Err(error.into());
                }
            };
        }
        upload.finish().await?;
        Ok(())
    }

    /// The bytes of a range, in whatever pieces the store gives.
    ///
    /// # Errors
    /// There is no such file, or the store fails.
    pub async fn read(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, DocumentError>>, DocumentError> {
        let key = Path::parse(key).map_err(object_store::Error::from)?;
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.store.get_opts(&key, options).await?;
        Ok(found.into_stream().map_err(DocumentError::from).boxed())
    }

    /// Removes files. A file that stays, because the store failed, is an orphan for the next sweep: the rows
    /// are gone already, so this is no error for the caller.
    pub async fn remove(&self, keys: impl IntoIterator<Item = String>) {
        for key in keys {
            let Ok(key) = Path::parse(&key) else { continue };
            match self.store.delete(&key).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => tracing::warn!(%error, "a file without a row stays until the next start"),
            }
        }
    }

    /// Removes every file that no row refers to and that was stored before `old`, and answers how many.
    /// Younger ones may belong to a row that is being written.
    ///
    /// # Errors
    /// The store fails.
    pub async fn sweep(&self, known: &HashSet<String>, old: Timestamp) -> Result<usize, DocumentError> {
        let mut removed = 0;
        let mut found = self.store.list(None);
        while let Some(object) = found.try_next().await? {
            let aged = object.last_modified.timestamp_micros() < old.unix_micros();
            if aged && !known.contains(object.location.as_ref()) {
                self.store.delete(&object.location).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// The next bytes of a file: a full part, less at its end, none after it.
async fn read_part(file: &mut tokio::fs::File) -> std::io::Result<Bytes> {
    let mut part = Vec::new();
    file.take(PART_BYTES as u64).read_to_end(&mut part).await?;
    Ok(Bytes::from(part))
}
