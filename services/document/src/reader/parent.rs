//! The service's side: starts the child, waits for its answer no longer than allowed, and ends it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use super::child::{Answer, Request};
use super::{FileKind, MAX_TEXT_BYTES, Reading, Refusal};

/// The word after the program that makes it a reader.
const ROLE: &str = "read-source";
/// Address space of a child: a large PDF needs about 300 MiB.
const MEMORY_BYTES: u64 = 1024 * 1024 * 1024;
/// Readers at a time: each may use a whole core and its memory limit.
const AT_ONCE: usize = 2;
/// JSON escapes make text longer than it is, twice at the very most for what `tidy` leaves.
const MAX_ANSWER_BYTES: u64 = 2 * MAX_TEXT_BYTES as u64 + 1024 * 1024;
/// An unoptimised build reads a dense PDF of a mebibyte in four seconds; an optimised one in a fraction.
const SECONDS_A_MEBIBYTE: u64 = 4;
/// What a dying child may say that is looked at.
const MAX_COMPLAINT_BYTES: u64 = 16 * 1024;

/// Reads files in child processes of a program that answers `read-source`.
#[derive(Clone, Debug)]
pub struct SourceReader {
    program: PathBuf,
    base_time: Duration,
    at_once: Arc<Semaphore>,
}

/// Why there is no reading.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file's fault; the customer is told.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Our own fault.
    #[error("the reader could not be started or talked to")]
    Process(#[from] std::io::Error),
    #[error("the reader gave no usable answer (exit code {0:?})")]
    Protocol(Option<i32>),
}

impl SourceReader {
    /// `program` is started as `program read-source`.
    pub fn new(program: PathBuf) -> Self {
        Self { program, base_time: Duration::from_secs(20), at_once: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The time that every file gets; larger files get four seconds more for each
    /// mebibyte.
    pub fn with_base_time(mut self, base_time: Duration) -> Self {
        self.base_time = base_time;
        self
    }

    /// Reads one file. Waits while others are read.
    ///
    /// # Errors
    /// The file is refused, took too long or crashed its reader; or the reader cannot be started.
    #[tracing::instrument(name = "read_source", skip_all, fields(kind = kind.label()))]
    pub async fn read(&self, path: &Path, kind: FileKind) -> Result<Reading, ReadError> {
        let _turn = self.at_once.acquire().await.expect("the semaphore is never closed");
        let size = tokio::fs::metadata(path).await?.len();
        let allowed = self.base_time + Duration::from_secs(SECONDS_A_MEBIBYTE * (size / (1024 * 1024)));
        let request = Request {
            path: path.to_owned(),
            kind,
            memory_bytes: MEMORY_BYTES,
            cpu_seconds: allowed.as_secs().saturating_add(1),
        };
        let mut child = Command::new(&self.program)
            .arg(ROLE)
            // Settings hold secrets, and the reader of a foreign file needs none of them.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        match tokio::time::timeout(allowed, talk(&mut child, &request)).await {
            Ok(answer) => answer,
            Err(_) => {
                child.kill().await?;
                Err(Refusal::TooSlow.into())
            }
        }
    }
}

async fn talk(child: &mut Child, request: &Request) -> Result<Reading, ReadError> {
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let mut line = serde_json::to_vec(request).map_err(std::io::Error::other)?;
    line.push(b'\n');
    // A child that died before reading is judged by its exit status, not by the broken pipe.
    let asked = async move {
        let _ = stdin.write_all(&line).await;
    };
    let mut answer = Vec::new();
    let mut complaint = Vec::new();
    let mut stdout = stdout.take(MAX_ANSWER_BYTES);
    let (_, read, complained) =
        tokio::join!(asked, stdout.read_to_end(&mut answer), read_start(stderr, &mut complaint));
    read?;
    complained?;
    let status = child.wait().await?;
    if status.success() {
        return match serde_json::from_slice(&answer) {
            Ok(Answer::Read(reading)) => Ok(reading),
            Ok(Answer::Refused(refusal)) => Err(refusal.into()),
            Err(_) => Err(ReadError::Protocol(status.code())),
        };
    }
    if status.code().is_some() {
        return Err(ReadError::Protocol(status.code()));
    }
    // Ended by a signal: the limit on processor time, memory that was refused, or a crash.
    let complaint = String::from_utf8_lossy(&complaint);
    if complaint.contains("memory allocation of") {
        return Err(Refusal::TooMuchMemory.into());
    }
    Err(Refusal::Unreadable.into())
}

/// Keeps the start and reads on to the end, as a child that cannot write would never finish.
async fn read_start(mut from: impl tokio::io::AsyncRead + Unpin, kept: &mut Vec<u8>) -> std::io::Result<()> {
    (&mut from).take(MAX_COMPLAINT_BYTES).read_to_end(kept).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that is a shell script, and a file to read.
    fn script(body: &str) -> (tempfile::TempDir, SourceReader, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("reader.sh");
        // Another process writes it: a child that another test starts at this moment would inherit the open
        // file, and the kernel starts no program that somebody may still write to.
        let written = std::process::Command::new("/bin/sh")
            .args(["-c", r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod +x "$1""#, "sh"])
            .arg(&program)
            .arg(body)
            .status();
        assert!(written.unwrap().success());
        let source = folder.path().join("notes.txt");
        std::fs::write(&source, "text").unwrap();
        (folder, SourceReader::new(program), source)
    }

    async fn read(body: &str) -> Result<Reading, ReadError> {
        let (_folder, reader, source) = script(body);
        reader.read(&source, FileKind::Text).await
    }

    #[tokio::test]
    async fn an_answer_is_read_back() {
        let reading =
            read(r#"read -r request; printf '{"read":{"pages":["text"],"has_pages":false}}'"#).await;
        assert_eq!(reading.unwrap(), Reading { pages: vec!["text".to_owned()], has_pages: false });
        let refused = read(r#"printf '{"refused":"encrypted"}'"#).await;
        assert!(matches!(refused, Err(ReadError::Refused(Refusal::Encrypted))));
    }

    #[tokio::test]
    async fn a_child_that_hangs_is_ended() {
        let (folder, reader, source) = script("echo $$ > \"${0%/*}/pid\"; while :; do :; done");
        let reader = reader.with_base_time(Duration::from_millis(300));
        let slow = reader.read(&source, FileKind::Text).await;
        assert!(matches!(slow, Err(ReadError::Refused(Refusal::TooSlow))), "{slow:?}");
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "the child is still there");
    }

    #[tokio::test]
    async fn a_crash_is_the_file_s_fault_and_a_wrong_answer_is_ours() {
        let crashed = read("kill -SEGV $$").await;
        assert!(matches!(crashed, Err(ReadError::Refused(Refusal::Unreadable))), "{crashed:?}");
        let starved = read("echo 'memory allocation of 99 bytes failed' >&2; kill -ABRT $$").await;
        assert!(matches!(starved, Err(ReadError::Refused(Refusal::TooMuchMemory))), "{starved:?}");
        let silent = read("exit 0").await;
        assert!(matches!(silent, Err(ReadError::Protocol(Some(0)))), "{silent:?}");
        let lost =
            SourceReader::new("/nowhere/quire".into()).read(Path::new("/dev/null"), FileKind::Text).await;
        assert!(matches!(lost, Err(ReadError::Process(_))), "{lost:?}");
    }
}
