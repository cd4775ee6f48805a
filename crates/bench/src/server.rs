//! The server being measured: a real `quire serve` process on free ports.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// A load test must not meet the limits that keep customers apart.
const NO_LIMIT: &str = "1000000/second";

pub(crate) struct Server {
    process: Child,
    folder: TempDir,
    pub(crate) gateway: String,
    pub(crate) auth: String,
    /// From the start of the process until every service was ready.
    pub(crate) start: Duration,
}

impl Server {
    pub(crate) async fn start(quire: &Path, database: Option<&str>) -> anyhow::Result<Self> {
        Self::start_in(quire, tempfile::tempdir()?, database, &[]).await
    }

    /// Starts on a data folder that may have been used before.
    pub(crate) async fn start_in(
        quire: &Path,
        folder: TempDir,
        database: Option<&str>,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let addresses = folder.path().join("addresses.json");
        if addresses.exists() {
            std::fs::remove_file(&addresses)?;
        }
        let mut command = Command::new(quire);
        command
            .arg("serve")
            .env("QUIRE_DATA_DIR", folder.path())
            .env("QUIRE_FREE_PORTS", "true")
            .env("QUIRE_LOG", "warn")
            .env("QUIRE_CONSOLE_LINKS", "false")
            .stderr(Stdio::inherit());
        for limit in ["MAGIC_LINK", "VERIFY", "REFRESH", "CHECKOUT", "API"] {
            command.env(format!("QUIRE_LIMIT_{limit}"), NO_LIMIT);
        }
        command.envs(settings.iter().copied());
        if let Some(url) = database {
            command.env("DATABASE_URL", url);
        }
        let started = Instant::now();
        let mut process =
            command.spawn().with_context(|| format!("{} cannot be started", quire.display()))?;
        while !addresses.exists() {
            if let Some(status) = process.try_wait()? {
                bail!("quire serve ended: {status}");
            }
            if started.elapsed() > PATIENCE {
                bail!("quire serve was not ready after {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let start = started.elapsed();
        let urls: serde_json::Value = serde_json::from_slice(&std::fs::read(&addresses)?)?;
        let url = |part: &str| urls[part].as_str().unwrap_or_default().to_owned();
        Ok(Self { process, folder, gateway: url("gateway"), auth: url("auth"), start })
    }

    pub(crate) fn mail_dir(&self) -> PathBuf {
        self.folder.path().join("mail")
    }

    /// Resident memory of the process as the kernel counts it, in MiB.
    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// Stops the process the way an operator would, and keeps its data folder.
    pub(crate) async fn stop(mut self) -> anyhow::Result<TempDir> {
        Command::new("kill").arg("-TERM").arg(self.process.id().to_string()).status()?;
        let stopping = Instant::now();
        while self.process.try_wait()?.is_none() {
            if stopping.elapsed() > PATIENCE {
                self.process.kill()?;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let fresh = tempfile::tempdir()?;
        Ok(std::mem::replace(&mut self.folder, fresh))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `stop` it has ended already; otherwise it must not outlive the measurement.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
