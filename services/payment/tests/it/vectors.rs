//! Signatures against the official SDKs: what they sign is accepted here, and what they refuse is refused.
//!
//! Their answers are kept in `tests/vectors`. Where an SDK is installed it is asked again: `QUIRE_TEST_PYTHON` is a Python
//! with the package `stripe`, `QUIRE_TEST_NODE_PATH` a folder of modules with the package `stripe`.

use std::path::PathBuf;
use std::process::Command;

use quire_clock::Timestamp;
use quire_payment::signature::Verifier;
use secrecy::SecretString;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Answers {
    sdk: String,
    vectors: Vec<Vector>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Vector {
    name: String,
    secret: String,
    /// Seconds since the Unix epoch.
    timestamp: i64,
    body: String,
    header: String,
    accepted: bool,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn kept(file: &str) -> Answers {
    serde_json::from_slice(&std::fs::read(folder().join(file)).unwrap()).unwrap()
}

#[test]
fn what_the_official_sdks_accept_is_accepted_and_nothing_else() {
    for file in ["python.json", "node.json"] {
        let answers = kept(file);
        assert_eq!(answers.vectors.len(), 66, "{}", answers.sdk);
        assert_eq!(answers.vectors.iter().filter(|vector| vector.accepted).count(), 30);
        for vector in answers.vectors {
            let verifier = Verifier::new(vec![SecretString::from(vector.secret)]);
            let now = Timestamp::from_unix_seconds(vector.timestamp);
            let verified = verifier.verify(vector.body.as_bytes(), Some(&vector.header), now);
            assert_eq!(verified.is_ok(), vector.accepted, "{}: {}: {verified:?}", answers.sdk, vector.name);
        }
    }
}

#[test]
fn the_python_sdk_still_says_the_same() {
    let python = std::env::var("QUIRE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(python);
    command.arg(folder().join("make.py"));
    says_the_same(command, "python.json");
}

#[test]
fn the_node_sdk_still_says_the_same() {
    let mut command = Command::new("node");
    command.arg(folder().join("make.mjs"));
    if let Ok(modules) = std::env::var("QUIRE_TEST_NODE_PATH") {
        command.env("NODE_PATH", modules);
    }
    says_the_same(command, "node.json");
}

/// Asks an SDK, if it is there.
#[expect(clippy::print_stdout, reason = "the line is for the person who runs the tests")]
fn says_the_same(mut command: Command, file: &str) {
    let Ok(output) = command.output() else {
        println!("skipped: {:?} cannot be started", command.get_program());
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if ["No module named 'stripe'", "Cannot find module 'stripe'"]
        .iter()
        .any(|missing| said.contains(missing))
    {
        println!("skipped: {:?} has no package `stripe`", command.get_program());
        return;
    }
    assert!(output.status.success(), "{said}");
    let answers: Answers = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.vectors, kept(file).vectors, "{}", answers.sdk);
}
