//! The job engine: how fast jobs come in and go through, how soon one is begun, and how soon one is taken over whose
//! process was killed.
//!
//! The services around it are played by this process: the document service knows no document, so that a job ends with
//! its first call, as one without work does; or it does not answer, so that the job is under way for as long as that is
//! of use.

mod fleet;
mod others;
mod peers;
pub(crate) mod soak;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use quire_proto::job::v1::StartJobRequest;
use quire_proto::job::v1::job_service_client::JobServiceClient;
use tonic::transport::Channel;

use crate::load::{Call, Load, percentiles};
use fleet::{Fleet, Worker};
use peers::Peers;

/// Of so many users.
const USERS: usize = 1_000;
/// Jobs without work that are timed.
const NOTHING: usize = 3_000;
/// Jobs that are begun one by one.
const WAKES: usize = 200;
const CALLERS: usize = 32;

/// Prints the rows by `row`. Claims are timed while `waiting` jobs wait.
pub(crate) async fn measure(
    quire: &Path,
    database: Option<&str>,
    node_modules: Option<&Path>,
    waiting: usize,
    row: impl Fn(&str, &str),
) -> anyhow::Result<()> {
    let peers = Peers::start().await?;
    let fleet = Fleet::new(quire, database, &peers)?;
    let jobs = Jobs { next: Arc::default(), peers: peers.clone() };

    let door = fleet.worker(&[("QUIRE_JOB_CONCURRENCY", "0")]).await?;
    let fresh = |_| Start { jobs: jobs.clone(), client: door.client() };
    let enqueued = Load::times(CALLERS, NOTHING, fresh).await?;
    row("StartJob, direct over gRPC", &enqueued.to_string());
    let (rate, _) = drain(&fleet, &peers, NOTHING).await?;
    row("jobs without work, claim to settled", &format!("{rate:>7.0}/s"));

    wakes(&fleet, &jobs, &door, &row).await?;
    for (lease, rounds) in [("30", 3), ("4", 5)] {
        let times = takeovers(&fleet, &jobs, &door, lease, rounds).await?;
        row(&format!("takeover after kill -9, lease of {lease} s"), &times);
    }

    let enqueued = Load::times(CALLERS, waiting, fresh).await?;
    row(&format!("StartJob until {waiting} jobs of {USERS} users wait"), &enqueued.to_string());
    let (rate, worker) = drain(&fleet, &peers, NOTHING).await?;
    row(&format!("jobs without work while {waiting} wait"), &format!("{rate:>7.0}/s"));
    row("one claim meanwhile", &worker.claims().await?);
    drop((worker, door));

    if let (Some(url), Some(modules)) = (database, node_modules) {
        for peer in others::ALL {
            let figures = others::measure(url, modules, &peer, NOTHING).await?;
            row(&format!("{} on the same server", peer.name), &figures);
        }
    }
    Ok(())
}

/// The jobs that are started, each of an order of its own.
#[derive(Clone)]
struct Jobs {
    next: Arc<AtomicUsize>,
    peers: Peers,
}

impl Jobs {
    /// Those that are not settled yet.
    fn open(&self) -> usize {
        self.next.load(Ordering::Relaxed).saturating_sub(self.peers.settled())
    }

    /// Starts the next one, of the user whose turn it is. Gives its document.
    async fn start(&self, client: &mut JobServiceClient<Channel>) -> anyhow::Result<String> {
        self.start_of(client, |number| format!("user-{}", number % USERS)).await
    }

    /// The same, of the user whom `user` names for its number.
    async fn start_of(
        &self,
        client: &mut JobServiceClient<Channel>,
        user: impl FnOnce(usize) -> String,
    ) -> anyhow::Result<String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let document_id = format!("document-{number}");
        let mut request = tonic::Request::new(StartJobRequest {
            order_id: format!("order-{number}"),
            document_id: document_id.clone(),
            user_id: user(number),
            pages: 10,
        });
        self.peers.payment.authorize(&mut request);
        client.start_job(request).await?;
        Ok(document_id)
    }
}

struct Start {
    jobs: Jobs,
    client: JobServiceClient<Channel>,
}

impl Call for Start {
    async fn call(&mut self) -> anyhow::Result<()> {
        self.jobs.start(&mut self.client).await.map(|_| ())
    }
}

/// How many jobs a second a worker sees through, until so many more are settled; and the worker, which goes on.
async fn drain(fleet: &Fleet, peers: &Peers, jobs: usize) -> anyhow::Result<(f64, Worker)> {
    let end = peers.settled() + jobs;
    let worker = fleet.worker(&[("QUIRE_JOB_CONCURRENCY", "16"), ("QUIRE_JOBS_PER_USER", "16")]).await?;
    let started = Instant::now();
    peers.settles(end).await;
    #[expect(clippy::cast_precision_loss, reason = "a rate for a table")]
    let rate = jobs as f64 / started.elapsed().as_secs_f64();
    Ok((rate, worker))
}

/// From the call that starts a job to the first call of the worker that has it, one job at a time. On PostgreSQL the
/// worker is another process than the one that is called.
async fn wakes(fleet: &Fleet, jobs: &Jobs, door: &Worker, row: &impl Fn(&str, &str)) -> anyhow::Result<()> {
    let worker = fleet.worker(&[("QUIRE_JOB_CONCURRENCY", "4")]).await?;
    let mut client = if fleet.on_postgres() { door.client() } else { worker.client() };
    let mut waits = Vec::new();
    for _ in 0..WAKES {
        let asked = Instant::now();
        let document = jobs.start(&mut client).await?;
        waits.push(jobs.peers.attached(&document, 1).await.duration_since(asked));
    }
    waits.sort_unstable();
    row("from StartJob to the worker's first call", &percentiles(&waits));
    Ok(())
}

/// From the kill of a worker to the first call of the one that takes its job over.
async fn takeovers(
    fleet: &Fleet,
    jobs: &Jobs,
    door: &Worker,
    lease: &str,
    rounds: usize,
) -> anyhow::Result<String> {
    let settings = [("QUIRE_JOB_CONCURRENCY", "1"), ("QUIRE_JOB_LEASE_SECONDS", lease)];
    let mut times = Vec::new();
    for _ in 0..rounds {
        let mut doomed = fleet.worker(&settings).await?;
        jobs.peers.answer(false);
        let document = jobs.start(&mut door.client()).await?;
        jobs.peers.attached(&document, 1).await;
        let _heir = fleet.worker(&settings).await?;
        jobs.peers.answer(true);
        let killed = Instant::now();
        doomed.kill()?;
        times.push(jobs.peers.attached(&document, 2).await.duration_since(killed));
    }
    let longest = times.iter().max().context("no round")?;
    let sum: Duration = times.iter().sum();
    let mean = sum / u32::try_from(rounds)?;
    Ok(format!("mean {:.1} s  longest {:.1} s", mean.as_secs_f64(), longest.as_secs_f64()))
}
