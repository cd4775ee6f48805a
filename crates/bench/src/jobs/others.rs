//! Job queues by other people, doing nothing on the same PostgreSQL. They take a job and delete its row; ours holds a
//! lease, calls another service, writes numbered events and settles the order, so the figures are no race.

use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::process::Command;

pub(super) struct Other {
    pub(super) name: &'static str,
    script: &'static str,
}

pub(super) const ALL: [Other; 2] = [
    Other { name: "graphile-worker", script: include_str!("../../peers/graphile-worker.mjs") },
    Other { name: "pg-boss", script: include_str!("../../peers/pg-boss.mjs") },
];

/// Jobs a second.
#[derive(Deserialize)]
struct Figures {
    enqueued: f64,
    worked: f64,
}

/// Runs a script in a folder whose `node_modules` has the package.
pub(super) async fn measure(
    database: &str,
    folder: &Path,
    other: &Other,
    jobs: usize,
) -> anyhow::Result<String> {
    let script = folder.join(format!("{}.mjs", other.name));
    std::fs::write(&script, other.script)?;
    let output = Command::new("node").arg(&script).args([database, &jobs.to_string()]).output().await?;
    std::fs::remove_file(&script)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", other.name);
    let last = String::from_utf8_lossy(&output.stdout);
    let figures: Figures = serde_json::from_str(last.lines().last().context("it said nothing")?)?;
    Ok(format!("{:>7.0}/s enqueued  {:.0}/s worked", figures.enqueued, figures.worked))
}
