//! Durable jobs, leases, steps, writers and progress events.
//!
//! A job is a row that a worker claims under a lease with an epoch. It goes through the steps plan, review (if the
//! customer wants to approve the outline), sections (several at once), typeset and finish; each leaves a checkpoint, so
//! that an attempt after a crash does only what is missing. Every
//! write is fenced by the epoch, every event has a number without gaps, and the end of a job, its last event and
//! the message that settles its order are one transaction. A job that is cancelled halfway delivers the sections
//! that are finished.
//!
//! Users take turns, with so many jobs at work as allowed; a job can be paused and resumed. Other processes are told of
//! what is new by PostgreSQL's NOTIFY, with polling behind it.

mod approve;
mod attempt;
mod background;
mod cancel;
mod chunks;
mod config;
mod dead_letters;
mod ending;
mod error;
mod events;
mod fair;
mod follow;
mod forecast;
mod grpc;
mod janitor;
mod lease;
mod metrics;
mod money;
mod one_row;
mod order_jobs;
mod outbox;
mod outline_jobs;
mod pause;
mod peers;
mod press;
mod priority;
mod query;
mod queue;
mod recorder;
mod recordings;
mod redo;
mod replay;
mod retry;
mod start;
mod steps;
mod store;
mod taken;
mod tape;
mod timeline;
mod wake;
mod watch;
mod worker;
mod writer;
mod writers;

use std::sync::Arc;

use quire_clock::World;
use quire_database::DatabaseError;
use quire_identity::{Gatekeeper, ServiceIdentity};
use quire_limit::LinkError;
use quire_limit::upstream::Upstreams;
use quire_migrations::JobMigrator;
use quire_proto::job::v1::job_service_server::JobServiceServer;
use quire_serve::client::{self, AddressError};
use quire_serve::grpc::{ServeError, Server};
use quire_typeset::Typesetter;
use sea_orm::DbErr;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use config::Config;
pub use money::budget::Budgets;
pub use money::price::{Price, PriceError, Prices};
pub use press::Press;
pub use writers::settings::{ModelConfig, ModelSettings};

/// The name in service tokens and logs.
const NAME: &str = "background-job";

/// Why the service did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the job database cannot be used")]
    Database(#[from] DatabaseError),
    #[error("the job database refused")]
    Statement(#[from] DbErr),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("REDIS_URL cannot be used")]
    Redis(#[from] LinkError),
    #[error("the connection to the model cannot be set up")]
    Model(#[from] reqwest::Error),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("a worker broke down")]
    Worker(#[from] JoinError),
    #[error("a worker ended before the shutdown")]
    WorkerEnded,
}

/// What a test may replace.
pub struct Parts {
    /// Who tells callers apart.
    pub gatekeeper: Gatekeeper,
    /// What makes PDFs.
    pub press: Arc<dyn Press>,
}

/// Runs the service until the shutdown.
///
/// # Errors
/// [`StartError`].
pub async fn serve(
    config: Config,
    world: World,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let auth = client::channel(&config.auth_url)?;
    let identity = ServiceIdentity::new(NAME, world.clone(), &config.master);
    // Whatever ends the service also ends the following of auth.
    let following = shutdown.child_token();
    let gatekeeper = Gatekeeper::following(auth, identity, world.clone(), &config.master, following.clone());
    let _ended = following.drop_guard();
    gatekeeper.expose(&config.metrics.scope(NAME));
    let press = Arc::new(Typesetter::new(&config.typesetter));
    serve_with(config, Parts { gatekeeper, press }, world, listener, shutdown).await
}

/// As [`serve`], with parts of the caller's.
///
/// # Errors
/// [`StartError`].
pub async fn serve_with(
    config: Config,
    parts: Parts,
    world: World,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let database = quire_database::open(&config.database).await?;
    if config.migrate {
        database.migrate::<JobMigrator>().await?;
    }
    let store = store::Store::new(database.clone(), world.clone());
    if config.exclusive_data_dir {
        let ended = lease::expire_others(&store).await?;
        outbox::expire_leases(&store).await?;
        tracing::info!(jobs = ended, "jobs of an earlier start go on");
    }
    match money::overspent::resume_all(&store).await {
        Ok(0) => {}
        Ok(jobs) => tracing::info!(jobs, "jobs whose budget was used up go on"),
        Err(error) => tracing::warn!(%error, "jobs whose budget was used up stay paused"),
    }

    let identity = ServiceIdentity::new(NAME, world.clone(), &config.master);
    let documents = peers::Documents::new(client::channel(&config.document_url)?, identity.clone());
    let payments = peers::Payments::new(client::channel(&config.payment_url)?, identity);
    let upstreams = match &config.redis_url {
        Some(url) => Upstreams::connect(url.expose_secret(), world.clone(), config.redis_patience).await?,
        None => Upstreams::alone(world.clone()),
    };
    let scope = config.metrics.scope(NAME);
    let upstreams = upstreams.exposed(&scope);
    let writers = writers::Writers::new(&config.models, &upstreams)?;
    let metrics = metrics::JobMetrics::new(&scope, &writers.gates);
    let (budgets, offered) = (config.models.budgets, writers::offered(&config.models));
    let tools = attempt::Tools {
        store: store.clone(),
        documents: documents.clone(),
        writers,
        press: parts.press,
        budgets,
        sections_at_once: config.sections_at_once,
        fallback_after: config.models.fallback_after,
        metrics: metrics.clone(),
    };
    let limits = fair::Limits { per_user: config.jobs_per_user, global: config.jobs_global };
    let pace =
        worker::Pace { lease: config.lease, drain: config.drain, retry_base: config.retry_base, limits };

    // Background work ends with the server, and the server with it, also when one of them breaks by itself.
    let stop = shutdown.child_token();
    let mut tasks = JoinSet::new();
    if config.concurrency > 0 {
        tasks.spawn(worker::run(tools.clone(), pace, config.concurrency, stop.clone()));
    }
    let relay = outbox::Relay { store: store.clone(), documents: documents.clone(), payments };
    let relay_stop = stop.clone();
    tasks.spawn(async move { relay.run(relay_stop).await });
    let janitor = janitor::Janitor {
        store: store.clone(),
        retention: config.events_retention,
        outline_review: config.outline_review,
    };
    tasks.spawn(janitor.run(stop.clone()));
    tasks.spawn(metrics.follow(store.clone(), config.metrics_pause, stop.clone()));
    // What the others write while they come to their end is told too.
    let written = CancellationToken::new();
    let telling = database.is_postgres().then(|| {
        tasks.spawn(wake::listen(config.database.url, store.clone(), stop.clone()));
        let (boot_id, news) = (store.boot_id.clone(), store.wakes.others.subscribe());
        AbortOnDropHandle::new(tokio::spawn(wake::tell(database.clone(), boot_id, news, written.clone())))
    });

    let face = grpc::Grpc {
        store,
        documents,
        offered,
        outlines_per_day: config.outlines_per_day,
        tools,
        gatekeeper: parts.gatekeeper,
        feeds: follow::Feeds::default(),
        shutdown: stop.clone(),
    };
    let served = Server::new(NAME, world, listener)
        .metrics(&config.metrics)
        .add(JobServiceServer::new(face))
        .ready(move || {
            let database = database.clone();
            async move { database.check::<JobMigrator>().await.map_err(|error| error.to_string()) }
        })
        .run(stop.clone());
    let ended = background::beside(served, tasks, stop).await;
    written.cancel();
    if let Some(telling) = telling {
        telling.await?;
    }
    ended
}
