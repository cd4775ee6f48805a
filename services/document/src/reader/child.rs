//! The child's side: takes one request on standard input, and answers on standard output.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::{FileKind, Reading, Refusal, read_file};

/// The first line of standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub path: PathBuf,
    pub kind: FileKind,
    /// Address space, in bytes.
    pub memory_bytes: u64,
    /// Processor time, so that a child whose parent was killed ends too.
    pub cpu_seconds: u64,
}

/// What comes back on standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Read(Reading),
    Refused(Refusal),
}

/// Deep nesting in a file is recursion in its reader.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Reads the file that standard input names, under the limits it names. To be called first thing in the
/// process, before any other thread exists.
///
/// Exit code 0: an answer was written, also when the file is refused. 2: the request was not understood, or
/// the limits could not be set. Any other end is a crash of the reader.
pub fn run_child(stdin: impl Read, mut stdout: impl Write) -> ExitCode {
    let mut line = String::new();
    let request = match BufReader::new(stdin).read_line(&mut line) {
        Ok(_) => serde_json::from_str::<Request>(&line),
        Err(_) => return ExitCode::from(2),
    };
    let Ok(request) = request else {
        return ExitCode::from(2);
    };
    if limit(Resource::As, request.memory_bytes).is_err()
        || limit(Resource::Cpu, request.cpu_seconds).is_err()
    {
        return ExitCode::from(2);
    }
    let reading = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || read_file(&request.path, request.kind))
        .map(std::thread::JoinHandle::join);
    let answer = match reading {
        Ok(Ok(Ok(reading))) => Answer::Read(reading),
        Ok(Ok(Err(refusal))) => Answer::Refused(refusal),
        Ok(Err(_panic)) => Answer::Refused(Refusal::Unreadable),
        Err(_) => return ExitCode::from(2),
    };
    let written = serde_json::to_writer(&mut stdout, &answer).is_ok() && stdout.flush().is_ok();
    if written { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn limit(resource: Resource, value: u64) -> rustix::io::Result<()> {
    setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
}
