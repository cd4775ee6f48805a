//! Processes of the job service on one database.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use quire_proto::job::v1::job_service_client::JobServiceClient;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::peers::{MASTER, Peers};

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The distribution of the time to look for a job,
const CLAIMS: &str = "quire_background_job_claim_seconds_bucket{";
/// and of those looks that gave one.
const TAKEN: &str = "outcome=\"taken\"";

pub(super) struct Fleet {
    quire: PathBuf,
    database: Option<String>,
    peers_url: String,
    folder: TempDir,
}

/// One process. Dropping it kills it.
pub(super) struct Worker {
    process: Child,
    channel: Channel,
    metrics: String,
}

impl Fleet {
    pub(super) fn new(quire: &Path, database: Option<&str>, peers: &Peers) -> anyhow::Result<Self> {
        Ok(Self {
            quire: quire.to_owned(),
            database: database.map(str::to_owned),
            peers_url: peers.url.clone(),
            folder: tempfile::tempdir()?,
        })
    }

    pub(super) fn on_postgres(&self) -> bool {
        self.database.is_some()
    }

    /// Starts a process and waits until it serves.
    pub(super) async fn worker(&self, settings: &[(&str, &str)]) -> anyhow::Result<Worker> {
        let free_address = || format!("127.0.0.1:{}", quire_testkit::free_port());
        let (address, metrics) = (free_address(), free_address());
        let mut command = Command::new(&self.quire);
        command
            .arg("background-job")
            .env("QUIRE_DATA_DIR", self.folder.path())
            .env("QUIRE_SECRET", MASTER)
            .env("QUIRE_LISTEN", &address)
            .env("QUIRE_METRICS_LISTEN", &metrics)
            .env("QUIRE_DOCUMENT_URL", &self.peers_url)
            .env("QUIRE_PAYMENT_URL", &self.peers_url)
            .env("QUIRE_LOG", "off")
            .envs(settings.iter().copied())
            .stderr(Stdio::inherit());
        if let Some(url) = &self.database {
            command.env("DATABASE_URL", url);
        }
        let process =
            command.spawn().with_context(|| format!("{} cannot be started", self.quire.display()))?;
        let channel = quire_serve::client::channel(&format!("http://{address}"))?;
        let mut worker = Worker { process, channel, metrics: format!("http://{metrics}/metrics") };
        let started = Instant::now();
        while !worker.serves().await {
            if let Some(status) = worker.process.try_wait()? {
                bail!("quire background-job ended: {status}");
            }
            if started.elapsed() > PATIENCE {
                bail!("quire background-job was not ready after {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(worker)
    }
}

impl Worker {
    pub(super) fn client(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel.clone())
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    async fn serves(&self) -> bool {
        let request = HealthCheckRequest { service: String::new() };
        let answer = HealthClient::new(self.channel.clone()).check(request).await;
        answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
    }

    /// Upper bounds of half and of 95 % of the claims that gave a job, as its metrics tell.
    pub(super) async fn claims(&self) -> anyhow::Result<String> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let text = http.get(&self.metrics).send().await?.text().await?;
        let buckets: Vec<(&str, u64)> = text
            .lines()
            .filter(|line| line.starts_with(CLAIMS) && line.contains(TAKEN))
            .filter_map(|line| {
                let (labels, count) = line.rsplit_once(' ')?;
                let bound = labels.split("le=\"").nth(1)?.split('"').next()?;
                Some((bound, count.parse().ok()?))
            })
            .collect();
        let all = buckets.last().context("the metrics tell of no claims")?.1;
        let bound = |percent: u64| {
            let enough = buckets.iter().find(|(_, count)| count * 100 >= all * percent);
            enough.map_or("?", |(bound, _)| bound)
        };
        Ok(format!("p50 <= {} s  p95 <= {} s  ({all} claims)", bound(50), bound(95)))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
