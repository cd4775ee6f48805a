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
mod sse;
mod state;
mod streams;
mod upstream;

use std::sync::Arc;

use quire_clock::World;
use quire_identity::GATEWAY;
use quire_limit::{Limiter, LinkError};
use quire_serve::client::AddressError;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("the address of Redis cannot be used")]
    Redis(#[from] LinkError),
}

/// Serves until the shutdown, and then until open requests and streams have ended, at most eight seconds.
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
    let counted = streams.clone();
    scope.gauge("event_streams_open", "Event streams of jobs that clients have open", move || {
        counted.open() as f64
    });
    let state = Arc::new(state::State {
        limiter: limiter.exposed(&scope),
        upstream,
        streams,
        requests: metrics::Requests::new(&scope),
        world,
        shutdown: shutdown.clone(),
        config,
    });
    quire_serve::http::serve(listener, router::router(state), shutdown).await;
    Ok(())
}
