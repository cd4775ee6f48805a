//! One process for each data folder.

use std::fs::{File, OpenOptions};
use std::path::Path;

/// Held as long as the process lives; the system lets go of it even after `kill -9`.
pub(crate) struct FolderLock {
    _file: File,
}

/// Takes the lock of the folder.
///
/// # Errors
/// Another process holds it, or the folder cannot be written to.
pub(crate) fn take(folder: &Path) -> std::io::Result<FolderLock> {
    std::fs::create_dir_all(folder)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock"))?;
    file.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => std::io::Error::new(
            std::io::ErrorKind::ResourceBusy,
            "another quire process uses this data folder",
        ),
        std::fs::TryLockError::Error(error) => error,
    })?;
    Ok(FolderLock { _file: file })
}
