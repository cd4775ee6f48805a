//! Takes an incoming stream of bytes into a temporary file, counting and hashing it on the way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use quire_clock::Timestamp;
use sha2::{Digest, Sha256};
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;

use crate::error::DocumentError;

/// A sender that is silent for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of files that are still coming in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spool {
    folder: PathBuf,
}

/// A file that came in whole. It is removed when this is dropped.
#[derive(Debug)]
pub struct Spooled {
    path: TempPath,
    pub size: u64,
    /// Hex.
    pub sha256: String,
}

impl Spooled {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Spool {
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Takes everything the stream gives.
    ///
    /// # Errors
    /// More than `limit` bytes, a sender that fails or is silent for a minute, or a full disk.
    pub async fn take<S>(&self, mut chunks: S, limit: u64) -> Result<Spooled, DocumentError>
    where
        S: Stream<Item = Result<Bytes, DocumentError>> + Unpin,
    {
        let (file, path) = tempfile::NamedTempFile::new_in(&self.folder)?.into_parts();
        let mut file = tokio::fs::File::from_std(file);
        let mut hash = Sha256::new();
        let mut size = 0_u64;
        while let Some(chunk) =
            tokio::time::timeout(PATIENCE, chunks.next()).await.map_err(|_| DocumentError::Interrupted)?
        {
            let chunk = chunk?;
            size += chunk.len() as u64;
            if size > limit {
                return Err(DocumentError::TooLarge { limit });
            }
            hash.update(&chunk);
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        Ok(Spooled { path, size, sha256: hex::encode(hash.finalize()) })
    }

    /// Removes what a process left behind that was killed, and answers how many files. Only files last
    /// written before `old` are touched: younger ones may belong to a process that still runs.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn sweep(&self, old: Timestamp) -> Result<usize, DocumentError> {
        let mut removed = 0;
        let mut entries = tokio::fs::read_dir(&self.folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            let modified = entry.metadata().await?.modified()?;
            let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            if Timestamp::from_unix_micros(0).plus(since) < old {
                tokio::fs::remove_file(entry.path()).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}
