//! The job engine under load for a long time: two users keep a thousand jobs waiting, two hundred others bring one now
//! and then, and on PostgreSQL somebody forgets an open transaction, which holds up the vacuum.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use quire_database::{Database, Settings};
use quire_proto::job::v1::job_service_client::JobServiceClient;
use sea_orm::{ConnectionTrait, DatabaseBackend, Statement, TransactionTrait};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

use super::Jobs;
use super::fleet::Fleet;
use super::peers::Peers;
use crate::load::percentiles;

/// Jobs that the two have open all the time.
const NOISE: usize = 1_000;
const NOISY: usize = 2;
const OTHERS: usize = 200;
/// The PostgreSQL schema of the job service.
const SCHEMA: &str = "job";
/// How long a job is at work.
const WORK: Duration = Duration::from_millis(100);
/// From one job of the others to the next.
const PAUSE: Duration = Duration::from_millis(200);
const TOP_UP: Duration = Duration::from_millis(10);
/// The vacuum is looked after once in so many jobs of the others.
const LOOK_EVERY: usize = 50;

/// Prints the rows by `row`.
pub(crate) async fn measure(
    quire: &Path,
    database: Option<&str>,
    time: Duration,
    row: impl Fn(&str, &str),
) -> anyhow::Result<()> {
    let peers = Peers::start().await?;
    peers.take(WORK);
    let fleet = Fleet::new(quire, database, &peers)?;
    let jobs = Jobs { next: Arc::default(), peers: peers.clone() };
    let settings = [("QUIRE_JOB_CONCURRENCY", "16"), ("QUIRE_JOBS_PER_USER", "3")];
    let mut workers = vec![fleet.worker(&settings).await?];
    // SQLite's file is one process's.
    if fleet.on_postgres() {
        workers.push(fleet.worker(&settings).await?);
    }
    let watch = match database {
        Some(url) => Some(connect(url).await?),
        None => None,
    };

    let started = Instant::now();
    let noise = AbortOnDropHandle::new(tokio::spawn(make_noise(jobs.clone(), workers[0].client())));
    let forgotten = watch.clone().map(|database| tokio::spawn(forget(database, time / 6, time / 6)));
    let client = workers.last().context("no worker")?.client();
    let visits = visit(&jobs, client, time, watch.as_ref()).await?;
    // It fails with the first call that does.
    if noise.is_finished() {
        noise.await??;
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for a table")]
    let rate = peers.settled() as f64 / started.elapsed().as_secs_f64();
    row(&format!("{} s with {NOISE} waiting jobs", time.as_secs()), &format!("{rate:>7.0}/s settled"));
    let wakes = format!("{}  ({} jobs)", percentiles(&visits.waits), visits.waits.len());
    row(&format!("from StartJob of {OTHERS} others to the first call"), &wakes);
    for (number, worker) in (1..).zip(&workers) {
        row(&format!("claims of process {number}"), &worker.claims().await?);
    }
    if let (Some(watch), Some(forgotten)) = (&watch, forgotten) {
        forgotten.await??;
        let dead = format!("{}, {}", visits.most_dead, dead_leases(watch).await?);
        row("dead tuples of job_leases, most and at the end", &dead);
    }
    Ok(())
}

/// Keeps jobs of the two waiting, until a call fails.
async fn make_noise(jobs: Jobs, mut client: JobServiceClient<Channel>) -> anyhow::Result<()> {
    for turn in 0.. {
        while jobs.open() >= NOISE {
            tokio::time::sleep(TOP_UP).await;
        }
        jobs.start_of(&mut client, |_| format!("noisy-{}", turn % NOISY)).await?;
    }
    Ok(())
}

struct Visits {
    /// From the call that starts a job to the first call of the worker that has it; sorted.
    waits: Vec<Duration>,
    most_dead: i64,
}

/// The others bring their jobs one by one.
async fn visit(
    jobs: &Jobs,
    mut client: JobServiceClient<Channel>,
    time: Duration,
    watch: Option<&Database>,
) -> anyhow::Result<Visits> {
    let started = Instant::now();
    let mut visits = Visits { waits: Vec::new(), most_dead: 0 };
    while started.elapsed() < time {
        let asked = Instant::now();
        let visitor = visits.waits.len() % OTHERS;
        let document = jobs.start_of(&mut client, |_| format!("other-{visitor}")).await?;
        visits.waits.push(jobs.peers.attached(&document, 1).await.duration_since(asked));
        if let Some(watch) = watch
            && visits.waits.len().is_multiple_of(LOOK_EVERY)
        {
            visits.most_dead = visits.most_dead.max(dead_leases(watch).await?);
        }
        tokio::time::sleep(PAUSE.saturating_sub(asked.elapsed())).await;
    }
    visits.waits.sort_unstable();
    Ok(visits)
}

/// After a while, leaves a transaction open for some time.
async fn forget(database: Database, after: Duration, time: Duration) -> anyhow::Result<()> {
    tokio::time::sleep(after).await;
    let open = database.reader().begin().await?;
    open.execute_unprepared("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
    open.execute_unprepared("SET LOCAL idle_in_transaction_session_timeout = 0").await?;
    open.execute_unprepared("SELECT COUNT(*) FROM job_leases").await?;
    tokio::time::sleep(time).await;
    Ok(open.rollback().await?)
}

async fn connect(url: &str) -> anyhow::Result<Database> {
    let settings = Settings { url: url.to_owned(), schema: SCHEMA.to_owned(), max_connections: 2 };
    Ok(quire_database::open(&settings).await?)
}

/// As the server's statistics tell, which come a little later.
async fn dead_leases(database: &Database) -> anyhow::Result<i64> {
    let sql =
        "SELECT n_dead_tup AS dead FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = 'job_leases'";
    let statement = Statement::from_sql_and_values(DatabaseBackend::Postgres, sql, [SCHEMA.into()]);
    let row = database.reader().query_one_raw(statement).await?;
    Ok(row.context("there is no table of leases")?.try_get("", "dead")?)
}
