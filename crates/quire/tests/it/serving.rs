//! `quire serve` as a process of its own, which a test can kill.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use quire_testkit::Process;

use crate::customer::Client;
use crate::system;
use crate::wait::eventually;

const ADDRESSES: &str = "addresses.json";
const LOG: &str = "test.log";

/// A running `quire serve`. Dropping it kills it.
pub struct Serving {
    process: Process,
    pub client: Client,
}

/// It was killed before it was ready.
#[derive(Debug, PartialEq, Eq)]
pub struct Killed;

impl Serving {
    /// Starts it on a data folder, and waits until it is ready.
    pub async fn start(folder: &Path, settings: &HashMap<String, String>) -> Self {
        let started = Self::try_start(folder, settings).await;
        started.unwrap_or_else(|Killed| panic!("quire was killed while it started\n{}", said(folder)))
    }

    /// The same, where a fail point may end it on the way.
    pub async fn try_start(folder: &Path, settings: &HashMap<String, String>) -> Result<Self, Killed> {
        let addresses = folder.join(ADDRESSES);
        // Of the process before, which had other ports.
        let _ = std::fs::remove_file(&addresses);
        let mut all = system::relaxed();
        all.insert("QUIRE_DATA_DIR".to_owned(), folder.display().to_string());
        all.insert("QUIRE_FREE_PORTS".to_owned(), "true".to_owned());
        all.extend(settings.clone());
        let environment = all.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut process = Process::start(&system::program(), &["serve"], environment, &folder.join(LOG));
        let looking = || {
            let found = match (std::fs::read(&addresses), process.ended()) {
                (Ok(bytes), _) => Some(Ok(serde_json::from_slice(&bytes).unwrap())),
                (Err(_), Some(status)) if status.signal() == Some(9) => Some(Err(Killed)),
                (Err(_), Some(status)) => panic!("quire ended: {status}\n{}", said(folder)),
                (Err(_), None) => None,
            };
            std::future::ready(found)
        };
        let urls: HashMap<String, String> = eventually("quire serve is ready", looking).await?;
        let client = Client::new(&urls["gateway"], folder.join("mail"));
        Ok(Self { process, client })
    }

    /// SIGKILL: nothing is cleaned up.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Whether SIGKILL has ended it. Any other end is a failure.
    pub fn was_killed(&mut self) -> bool {
        match self.process.ended() {
            None => false,
            Some(status) if status.signal() == Some(9) => true,
            Some(status) => panic!("quire ended: {status}\n{}", self.process.said()),
        }
    }
}

/// The end of what the processes on a folder have said.
pub fn said(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join(LOG)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A copy of a data folder that no process uses.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else if entry.file_name() != LOG {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
