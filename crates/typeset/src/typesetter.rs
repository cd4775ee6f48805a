//! The parent side: runs the child under a deadline and a memory limit.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use quire_manuscript::Book;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use crate::press::estimated_pages;
use crate::protocol::{Done, Failure, PlacedHeading, Reply, Request};

/// Far above the reply of a book of a thousand pages.
const MAX_REPLY_BYTES: u64 = 16 << 20;
/// What is kept of the child's last words.
const MAX_STDERR_BYTES: usize = 16 << 10;

/// Typesets books in child processes.
#[derive(Debug, Clone)]
pub struct Typesetter {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Time for a book of no pages; a cold start on a busy machine is most of it.
    pub base_timeout: Duration,
    /// Added for each page of the unshortened book; covers all layouts of a fit.
    pub timeout_per_page: Duration,
    /// Address space, which is more than memory used: it counts the program itself, its threads' stacks
    /// and what the allocator reserves.
    pub base_memory_bytes: u64,
    pub memory_bytes_per_page: u64,
    /// One permit per child that may run at the same time.
    pub permits: Arc<Semaphore>,
}

/// A typeset document.
#[derive(Debug)]
pub struct Typeset {
    pub pdf: Vec<u8>,
    /// Counted in the PDF.
    pub pages: u32,
    /// The book as it was printed: without the blocks that were left out.
    pub book: Book,
    /// Chapters, titled sections and the references chapter, in reading order.
    pub headings: Vec<PlacedHeading>,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum TypesetError {
    #[error("typesetting took longer than {} s", .limit.as_secs_f32())]
    Timeout { limit: Duration },
    #[error("typesetting needed more than {limit_bytes} bytes of address space")]
    OutOfMemory { limit_bytes: u64 },
    #[error("no bundled font has the character {codepoint}")]
    MissingGlyph {
        /// In the form `U+4E2D`.
        codepoint: String,
        /// The text around the character.
        near: String,
    },
    #[error("the layout failed: {}", .0.join("; "))]
    Compile(Vec<String>),
    #[error("the typesetting process failed: {0}")]
    Child(String),
}

impl Typesetter {
    /// Runs `program typeset`, at most one child for every two cores.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            program: program.into(),
            args: vec!["typeset".into()],
            base_timeout: Duration::from_secs(30),
            timeout_per_page: Duration::from_secs(1),
            base_memory_bytes: 1 << 30,
            memory_bytes_per_page: 4 << 20,
            permits: Arc::new(Semaphore::new((cores / 2).max(1))),
        }
    }

    /// Typesets the book; with a target, as much of it as fits on that many pages. A book that cannot be
    /// shortened or lengthened to the target comes as it is: compare [`Typeset::pages`].
    ///
    /// Waits for a free place first; the deadline counts from the start of the child. Dropping the future
    /// kills the child.
    #[tracing::instrument(skip_all, fields(target_pages, pages, layouts))]
    pub async fn typeset(&self, book: &Book, target_pages: Option<u32>) -> Result<Typeset, TypesetError> {
        let span = tracing::Span::current();
        span.record("target_pages", target_pages);
        let _permit = self.permits.acquire().await.map_err(|_| child_error("shutting down"))?;
        let pages = estimated_pages(book).max(target_pages.unwrap_or(0));
        let timeout = self.base_timeout + self.timeout_per_page.saturating_mul(pages);
        let memory = self.memory_bytes_per_page.saturating_mul(pages.into());
        let memory = self.base_memory_bytes.saturating_add(memory);
        let folder = tempfile::tempdir().map_err(child_error)?;
        let out_path = folder.path().join("book.pdf");
        let request = Request {
            book: Cow::Borrowed(book),
            target_pages,
            memory_limit_bytes: Some(memory),
            out_path: out_path.clone(),
        };
        let request = serde_json::to_vec(&request).map_err(child_error)?;
        let mut child = self.spawn(folder.path())?;
        let Ok(ended) = tokio::time::timeout(timeout, converse(&mut child, &request)).await else {
            // Waited for, so that no zombie stays and its memory is free before the next child starts.
            child.kill().await.map_err(child_error)?;
            return Err(TypesetError::Timeout { limit: timeout });
        };
        let done = ended.map_err(child_error)?.into_reply(memory)?;
        span.record("pages", done.pages);
        span.record("layouts", done.layouts);
        let pdf = tokio::fs::read(&out_path).await.map_err(child_error)?;
        if pdf.len() as u64 != done.pdf_bytes || !pdf.starts_with(b"%PDF-") {
            return Err(child_error("the file is not the PDF that was announced"));
        }
        let book = match done.limit {
            Some(limit) => book.without_optional_from(limit),
            None => book.clone(),
        };
        Ok(Typeset { pdf, pages: done.pages, book, headings: done.headings })
    }

    /// The child gets no environment: it needs none, and the parent's holds secrets.
    fn spawn(&self, folder: &Path) -> Result<Child, TypesetError> {
        Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            // Each further arena of glibc reserves address space that would count against the limit.
            .env("MALLOC_ARENA_MAX", "2")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(child_error)
    }
}

struct Ended {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: String,
}

async fn converse(child: &mut Child, request: &[u8]) -> std::io::Result<Ended> {
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let ask = async {
        // A child that dies early closes the pipe; its exit says why.
        let _ = stdin.write_all(request).await;
        drop(stdin);
    };
    let mut reply = Vec::new();
    let mut stdout = stdout.take(MAX_REPLY_BYTES);
    let ((), read, stderr) = tokio::join!(ask, stdout.read_to_end(&mut reply), last_words(stderr));
    read?;
    Ok(Ended { status: child.wait().await?, stdout: reply, stderr: stderr? })
}

/// Reads to the end, so that the child never blocks, and keeps the beginning.
async fn last_words(mut stderr: impl AsyncRead + Unpin) -> std::io::Result<String> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 4096];
    loop {
        let count = stderr.read(&mut buffer).await?;
        if count == 0 {
            return Ok(String::from_utf8_lossy(&kept).trim().to_owned());
        }
        let room = MAX_STDERR_BYTES - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

impl Ended {
    fn into_reply(self, limit_bytes: u64) -> Result<Done, TypesetError> {
        const SIGKILL: i32 = 9;
        // What Rust's allocator, the kernel and the thread pool say when there is no more room.
        const OUT_OF_MEMORY: [&str; 4] = [
            "memory allocation of",
            "Cannot allocate memory",
            "ThreadPoolBuildError",
            "Resource temporarily",
        ];
        let no_memory = OUT_OF_MEMORY.iter().any(|words| self.stderr.contains(words))
            // Nothing else kills the child but the kernel when the machine runs out.
            || self.status.signal() == Some(SIGKILL);
        if no_memory && !self.status.success() {
            return Err(TypesetError::OutOfMemory { limit_bytes });
        }
        match serde_json::from_slice(&self.stdout) {
            Ok(Reply::Done(done)) if self.status.success() => Ok(done),
            Ok(Reply::Failed(failure)) => Err(failure.into()),
            _ => Err(TypesetError::Child(format!("{}: {}", self.status, self.stderr))),
        }
    }
}

impl From<Failure> for TypesetError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::MissingGlyph { codepoint, near } => Self::MissingGlyph { codepoint, near },
            Failure::InvalidBook { message } => Self::Compile(vec![message]),
            Failure::Compile { messages } => Self::Compile(messages),
            Failure::Io { message } => Self::Child(message),
        }
    }
}

fn child_error(error: impl std::fmt::Display) -> TypesetError {
    TypesetError::Child(error.to_string())
}
