//! The job engine under load for a long time: two users keep a thousand jobs waiting, two hundred others bring one now
//! and then, and on PostgreSQL somebody forgets an open transaction, which holds up the vacuum.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use quire_database::{Database, Settings};
use sea_orm::{ConnectionTrait, DatabaseBackend, Statement, TransactionTrait};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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
    // SQLite's file is one process's.
    let mut workers = vec![fleet.worker(&settings).await?];
    if fleet.on_postgres() {
        workers.push(fleet.worker(&settings).await?);
    }

    let end = CancellationToken::new();
    let errors = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let (mut client, noise, peers_of_noise, stop, failed) =
        (workers[0].client(), jobs.clone(), peers.clone(), end.clone(), errors.clone());
    tasks.spawn(async move {
        let mut started = 0_usize;
        while !stop.is_cancelled() {
            while started < peers_of_noise.settled() + NOISE && !stop.is_cancelled() {
                let user = format!("noisy-{}", started % NOISY);
                if noise.start_of(&mut client, user).await.is_err() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                started += 1;
            }
            tokio::time::sleep(TOP_UP).await;
        }
    });
    let watch = match database {
        Some(url) => Some(connect(url).await?),
        None => None,
    };
    let forgotten = watch.clone().map(|database| tokio::spawn(forget(database, time / 6, time / 6)));

    let started = Instant::now();
    let mut others = workers.last().context("no worker")?.client();
    let mut waits = Vec::new();
    let mut most_dead = 0;
    while started.elapsed() < time {
        let user = format!("other-{}", waits.len() % OTHERS);
        let asked = Instant::now();
        match jobs.start_of(&mut others, user).await {
            Ok(document) => waits.push(peers.attached(&document, 1).await.duration_since(asked)),
            Err(_) => {
                errors.fetch_add(1, Ordering::Relaxed);
            }
        }
        if let Some(watch) = &watch
            && waits.len() % 50 == 0
        {
            most_dead = most_dead.max(dead_leases(watch).await?);
        }
        tokio::time::sleep(PAUSE.saturating_sub(asked.elapsed())).await;
    }
    end.cancel();
    while let Some(done) = tasks.join_next().await {
        done?;
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for a table")]
    let rate = peers.settled() as f64 / started.elapsed().as_secs_f64();
    row(&format!("{} s with {NOISE} waiting jobs", time.as_secs()), &format!("{rate:>7.0}/s settled"));
    waits.sort_unstable();
    let wakes = format!("{}  ({} jobs)", percentiles(&waits), waits.len());
    row(&format!("from StartJob of {OTHERS} others to the first call"), &wakes);
    for (number, worker) in workers.iter().enumerate() {
        row(&format!("claims of process {}", number + 1), &worker.claims().await?);
    }
    row("calls that failed", &errors.load(Ordering::Relaxed).to_string());
    if let (Some(watch), Some(forgotten)) = (&watch, forgotten) {
        forgotten.await??;
        row(
            "dead tuples of job_leases, most and at the end",
            &format!("{most_dead}, {}", dead_leases(watch).await?),
        );
    }
    Ok(())
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
