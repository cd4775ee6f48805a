//! The parent with real children: this program started again, and shell scripts that misbehave.

#![expect(clippy::unwrap_used, reason = "a test program: a panic is its way to fail")]

mod sample;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use quire_typeset::{TypesetError, Typesetter, render, run_child};
use tokio::sync::Semaphore;

const AS_CHILD: &str = "--as-typesetting-child";

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == AS_CHILD) {
        return ExitCode::from(run_child(std::io::stdin(), std::io::stdout()));
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        the_child_writes_the_bytes_that_the_same_book_always_gives().await;
        the_fitted_book_is_the_one_that_was_printed().await;
        a_missing_glyph_reaches_the_parent().await;
        a_memory_limit_stops_the_child().await;
        a_child_that_hangs_is_killed_at_the_deadline().await;
        a_child_that_is_no_longer_wanted_is_killed().await;
        a_child_that_fails_is_reported_with_its_last_words().await;
        no_more_children_run_than_there_are_permits().await;
    });
    ExitCode::SUCCESS
}

fn typesetter() -> Typesetter {
    let mut typesetter = Typesetter::new(std::env::current_exe().unwrap());
    typesetter.args = vec![AS_CHILD.into()];
    typesetter
}

fn script(script: &str, argument: &Path) -> Typesetter {
    let mut typesetter = Typesetter::new("/bin/sh");
    typesetter.args = vec!["-c".into(), script.into(), "sh".into(), argument.into()];
    typesetter
}

async fn failure(typesetter: &Typesetter) -> TypesetError {
    typesetter.typeset(&sample::book(1, 1), None).await.unwrap_err()
}

async fn the_child_writes_the_bytes_that_the_same_book_always_gives() {
    let book = sample::book(2, 4);
    let typeset = typesetter().typeset(&book, None).await.unwrap();
    let here = render(&book).unwrap();
    assert!(typeset.pdf == here.pdf);
    assert_eq!((typeset.pages, typeset.headings), (here.pages, here.headings));
    assert_eq!(typeset.book, book);
}

async fn the_fitted_book_is_the_one_that_was_printed() {
    let book = sample::book(3, 20);
    let typeset = typesetter().typeset(&book, Some(8)).await.unwrap();
    assert_eq!(typeset.pages, 8);
    assert_ne!(typeset.book, book);
    assert!(typeset.pdf == render(&typeset.book).unwrap().pdf);
}

async fn a_missing_glyph_reaches_the_parent() {
    let mut book = sample::book(1, 1);
    book.meta.title = "Ice 中".into();
    match typesetter().typeset(&book, None).await {
        Err(TypesetError::MissingGlyph { codepoint, near }) => {
            assert_eq!((codepoint.as_str(), near.as_str()), ("U+4E2D", "中"));
        }
        other => panic!("{other:?}"),
    }
}

async fn a_memory_limit_stops_the_child() {
    let mut small = typesetter();
    (small.base_memory_bytes, small.memory_bytes_per_page) = (32 << 20, 0);
    match failure(&small).await {
        TypesetError::OutOfMemory { limit_bytes } => assert_eq!(limit_bytes, 32 << 20),
        other => panic!("{other:?}"),
    }
}

async fn a_child_that_hangs_is_killed_at_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let mut hanging = script("echo $$ > \"$1\"; exec sleep 600", &pid_file);
    hanging.base_timeout = Duration::from_secs(1);
    hanging.timeout_per_page = Duration::ZERO;
    match failure(&hanging).await {
        TypesetError::Timeout { limit } => assert_eq!(limit, Duration::from_secs(1)),
        other => panic!("{other:?}"),
    }
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "the child {pid} still runs");
}

async fn a_child_that_is_no_longer_wanted_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // The child holds the writing end open for as long as it lives.
    let hanging = script("exec 9> \"$1\"; echo started >&9; exec sleep 600", &fifo);
    let book = sample::book(1, 1);
    let task = tokio::spawn(async move { hanging.typeset(&book, None).await.map(drop) });
    let mut reader = tokio::io::BufReader::new(tokio::fs::File::open(&fifo).await.unwrap());
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut reader, &mut line).await.unwrap();
    assert_eq!(line, "started\n");
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    // The end of the pipe comes when its last writer is gone.
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut rest).await.unwrap();
    assert!(rest.is_empty());
}

async fn a_child_that_fails_is_reported_with_its_last_words() {
    let nowhere = Path::new("");
    let message = |error| match error {
        TypesetError::Child(message) => message,
        other => panic!("{other:?}"),
    };
    let failed = message(failure(&script("echo broken >&2; exit 3", nowhere)).await);
    assert!(failed.contains("exit status: 3") && failed.contains("broken"), "{failed}");
    let silent = message(failure(&script("cat > /dev/null", nowhere)).await);
    assert!(silent.contains("exit status: 0"), "{silent}");
    let flood = message(failure(&script("yes x | head -c 1000000 >&2; exit 1", nowhere)).await);
    assert!(flood.len() < 20_000, "{} bytes of stderr were kept", flood.len());
    let announced = "echo '{\"pages\":1,\"limit\":null,\"layouts\":1,\"headings\":[],\"pdf_bytes\":3}'; printf abc > book.pdf";
    let not_a_pdf = message(failure(&script(announced, nowhere)).await);
    assert!(not_a_pdf.contains("not the PDF"), "{not_a_pdf}");
    message(failure(&Typesetter::new("/nowhere/quire")).await);
}

async fn no_more_children_run_than_there_are_permits() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    // A second child at the same time would find the folder and end with another code.
    let mut exclusive = script("mkdir \"$1\" || exit 9; sleep 0.2; rmdir \"$1\"; exit 3", &taken);
    exclusive.permits = Arc::new(Semaphore::new(1));
    let results = tokio::join!(failure(&exclusive), failure(&exclusive), failure(&exclusive));
    for error in [results.0, results.1, results.2] {
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }
}
