//! Public REST to gRPC, nothing else.
//!
//! The gateway holds no state and no business rule: it checks the bearer, counts the rate limits, reads JSON
//! into a message, calls one RPC, and writes the answer as JSON. Rules live in the services and come back as
//! google.rpc details, which `error.rs` turns into bodies that FastAPI clients already understand.

mod bearer;
mod body;
pub mod client_address;
mod config;
mod cookie;
mod error;
mod feed;
mod idempotency;
mod limits;
mod linger;
mod metrics;
mod middleware;
mod multipart;
mod pages;
mod render;
mod router;
mod routes;
mod socket;
mod sse;
mod state;
mod streams;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use quire_clock::World;
use quire_identity::GATEWAY;
use quire_limit::{Limiter, LinkError};
use quire_serve::client::AddressError;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::Config;

/// After the shutdown, WebSockets have this long to end; requests had their time already.
const SOCKETS_DRAIN: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("the address of Redis cannot be used")]
    Redis(#[from] LinkError),
}

/// Serves until the shutdown, and then until open requests and streams have ended, at most eleven seconds.
///
/// # Errors
/// An address in the settings cannot be used.
pub async fn serve(
    config: Config,
    world: World,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let limiter = match &config.redis_url {
        Some(url) => {
            Limiter::connect(url.expose_secret(), world.clone(), config.master.derive("rate limit keys"))
                .await?
        }
        None => Limiter::memory(world.clone()),
    };
    let scope = config.metrics.scope(GATEWAY);
    let upstream = upstream::Upstream::connect(&config, world.clone(), shutdown.clone())?;
    upstream.gatekeeper.expose(&scope);
    let streams = streams::Streams::default();
    let sockets = TaskTracker::new();
    let counted = streams.clone();
    scope.gauge("event_streams_open", "Event streams of jobs that clients have open", move || {
        counted.open() as f64
    });
    let state = Arc::new(state::State {
        limiter: limiter.exposed(&scope),
        upstream,
        streams,
        sockets: sockets.clone(),
        requests: metrics::Requests::new(&scope),
        world,
        shutdown: shutdown.clone(),
        config,
    });
    quire_serve::http::serve(listener, router::router(state), shutdown).await;
    sockets.close();
    // They were told of the shutdown; those that do not answer are cut.
    if tokio::time::timeout(SOCKETS_DRAIN, sockets.wait()).await.is_err() {
        tracing::warn!("open WebSockets were cut at the end of the drain");
    }
    Ok(())
}
