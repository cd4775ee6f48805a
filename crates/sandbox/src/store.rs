//! Keeps the provider's memory, and writes it to one file when it is given a path.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::record::Data;

/// The memory of one provider. Clones share it.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    data: Mutex<Versioned>,
    file: Option<PathBuf>,
    /// Held while the file is written, so that writers follow each other.
    writing: Mutex<()>,
    written: AtomicU64,
}

struct Versioned {
    data: Data,
    version: u64,
}

/// Whether a transaction left anything to write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Changed,
}

impl Store {
    /// Takes up the memory from the file, if there is one.
    ///
    /// # Errors
    /// The file cannot be read or is not a state file.
    pub(crate) fn open(file: Option<PathBuf>) -> io::Result<Self> {
        let mut data = match &file {
            None => Data::default(),
            Some(path) => match std::fs::read(path) {
                Ok(bytes) => serde_json::from_slice(&bytes)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Data::default(),
                Err(error) => return Err(error),
            },
        };
        data.upgrade();
        Ok(Self(Arc::new(Inner {
            data: Mutex::new(Versioned { data, version: 0 }),
            file,
            writing: Mutex::new(()),
            written: AtomicU64::new(0),
        })))
    }

    /// Runs one transaction alone. What it saw and did is safe once [`Store::flush`] has returned for the version.
    pub(crate) fn run<T>(&self, work: impl FnOnce(&mut Data) -> (T, Effect)) -> (T, u64) {
        let mut guard = self.lock();
        let (result, effect) = work(&mut guard.data);
        if effect == Effect::Changed {
            guard.version += 1;
        }
        (result, guard.version)
    }

    /// Waits until this version is on disk, writing it if no one else does.
    ///
    /// # Errors
    /// The file could not be written. The change stands in memory, and the next write carries it.
    pub(crate) async fn flush(&self, version: u64) -> io::Result<()> {
        if self.0.file.is_none() || self.0.written.load(Ordering::Acquire) >= version {
            return Ok(());
        }
        let store = self.clone();
        // A started blocking task runs to its end even if the request that waits for it is dropped.
        tokio::task::spawn_blocking(move || store.write(version)).await.map_err(io::Error::other)?
    }

    /// Waits until everything is on disk.
    ///
    /// # Errors
    /// The file could not be written.
    pub(crate) async fn flush_all(&self) -> io::Result<()> {
        let version = self.lock().version;
        self.flush(version).await
    }

    /// Looks without waiting for the disk.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&Data) -> T) -> T {
        look(&self.lock().data)
    }

    fn write(&self, version: u64) -> io::Result<()> {
        let Some(file) = &self.0.file else { return Ok(()) };
        let _alone = self.0.writing.lock().expect("no writer panics");
        if self.0.written.load(Ordering::Acquire) >= version {
            // Whoever wrote while we waited wrote our change too.
            return Ok(());
        }
        let (bytes, version) = {
            let guard = self.lock();
            (serde_json::to_vec(&guard.data)?, guard.version)
        };
        replace(file, &bytes)?;
        self.0.written.store(version, Ordering::Release);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Versioned> {
        self.0.data.lock().expect("no transaction panics")
    }
}

/// Puts the whole file in place at once: a crash leaves the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let mut file = create_private(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// The state has e-mail addresses in it: only the owner may read it.
fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}
