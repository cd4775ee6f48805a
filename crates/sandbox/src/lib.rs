//! A Stripe-compatible local payment provider with signed webhooks.
//!
//! It is a real HTTP server that the official clients can talk to: checkout sessions with a hosted page, payment
//! intents, refunds, events, idempotency keys, and webhooks that are signed, retried and kept over a restart. On
//! demand it misbehaves as real providers do: it sends events twice, out of order, late, or with a wrong
//! signature. No money moves.

mod api;
mod behaviour;
mod checkout;
mod control;
mod delivery;
mod desk;
mod events;
mod form;
mod idempotency;
mod listing;
mod page;
mod provider;
mod record;
mod refunds;
mod refusal;
mod render;
pub mod signature;
mod store;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use quire_clock::World;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use crate::behaviour::Behaviour;
pub use crate::delivery::{Attempt, Retry};

use crate::delivery::{Courier, CourierParts};
use crate::idempotency::Running;
use crate::provider::{Keys, Provider};
use crate::store::Store;

/// How often the clock is asked which sessions have expired.
const TICK: Duration = Duration::from_secs(1);

/// How long open connections may go on after the shutdown has begun.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// The settings of one provider. It has secrets in it, and so no `Debug`.
#[derive(Clone, Default)]
pub struct SandboxConfig {
    /// The keys that clients may use. At least one.
    pub api_keys: Vec<String>,
    /// Where events go. Until there is an address they wait.
    pub webhook_url: Option<String>,
    /// Every delivery is signed with each of these. At least one.
    pub webhook_secrets: Vec<String>,
    /// The address under which buyers reach the hosted page. If empty, the one that is listened on.
    pub public_url: String,
    /// The file that keeps the state over a restart. Without it the state is in memory only.
    pub state_path: Option<PathBuf>,
    /// How deliveries misbehave.
    pub behaviour: Behaviour,
    /// When deliveries are repeated.
    pub retry: Retry,
}

/// Why a provider could not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// There is no API key, or an empty one.
    #[error("the payment sandbox needs at least one api key, and none may be empty")]
    ApiKey,
    /// There is no webhook secret, or an empty one.
    #[error("the payment sandbox needs at least one webhook secret, and none may be empty")]
    WebhookSecret,
    /// The state file cannot be read.
    #[error("the state file of the payment sandbox cannot be read")]
    State(#[source] io::Error),
    /// The HTTP client for the webhooks cannot be made.
    #[error("the http client of the payment sandbox cannot be made")]
    Client(#[source] reqwest::Error),
    /// The socket failed.
    #[error("the payment sandbox cannot serve")]
    Serve(#[source] io::Error),
}

/// The payment provider.
pub struct Sandbox;

impl Sandbox {
    /// Serves on the listener until the shutdown, and takes up the deliveries that the state file has pending.
    ///
    /// # Errors
    /// A secret is missing, the state file cannot be read, or the listener has no address.
    pub async fn start(
        listener: TcpListener,
        config: SandboxConfig,
        world: World,
        shutdown: CancellationToken,
    ) -> Result<SandboxHandle, SandboxError> {
        if config.api_keys.is_empty() || config.api_keys.iter().any(String::is_empty) {
            return Err(SandboxError::ApiKey);
        }
        if config.webhook_secrets.is_empty() || config.webhook_secrets.iter().any(String::is_empty) {
            return Err(SandboxError::WebhookSecret);
        }
        let url = format!("http://{}", listener.local_addr().map_err(SandboxError::Serve)?);
        let public_url = match config.public_url.trim_end_matches('/') {
            "" => url.clone(),
            public_url => public_url.to_owned(),
        };
        let opening = tokio::task::spawn_blocking(|| Store::open(config.state_path)).await;
        let store = opening.map_err(io::Error::other).flatten().map_err(SandboxError::State)?;
        // A redirect is no acknowledgement, and the receiver is local: no proxy stands between.
        let client =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
        let courier = Courier::new(CourierParts {
            client: client.map_err(SandboxError::Client)?,
            store: store.clone(),
            world: world.clone(),
            secrets: config.webhook_secrets,
            retry: config.retry,
            target: config.webhook_url,
            behaviour: config.behaviour,
            shutdown: shutdown.clone(),
        });
        let provider = Arc::new(Provider {
            store: store.clone(),
            world,
            public_url,
            keys: Keys::new(&config.api_keys),
            running: Running::default(),
            courier: courier.clone(),
        });
        courier.submit(store.peek(|data| data.undelivered.clone()));
        let task = tokio::spawn(serve(listener, provider.clone(), shutdown));
        Ok(SandboxHandle { url, provider, task })
    }
}

/// A running provider.
pub struct SandboxHandle {
    url: String,
    provider: Arc<Provider>,
    task: JoinHandle<io::Result<()>>,
}

impl SandboxHandle {
    /// The address that is listened on, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends events to this address from now on, and those that have waited for one too.
    pub fn set_webhook_url(&self, url: impl Into<String>) {
        self.provider.courier.set_target(url.into());
    }

    /// Changes how deliveries misbehave. Whatever was held goes out if `hold` is off.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.provider.courier.set_behaviour(behaviour);
    }

    /// Delivers the events that are held, and tells how many they are.
    pub fn release(&self) -> usize {
        self.provider.courier.release()
    }

    /// The latest attempts to deliver, oldest first; at most 10 000, none from before the start.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.provider.courier.attempts()
    }

    /// Expires the sessions whose time is up, as happens once a second anyway. For tests that turn the clock.
    pub async fn tick(&self) {
        self.provider.tick().await;
    }

    /// Returns once every event is acknowledged or given up.
    pub async fn drained(&self) {
        self.provider.courier.drained().await;
    }

    /// Returns once the server has stopped after the shutdown.
    ///
    /// # Errors
    /// The server failed.
    pub async fn join(self) -> Result<(), SandboxError> {
        self.task.await.map_err(io::Error::other).flatten().map_err(SandboxError::Serve)
    }
}

async fn serve(
    listener: TcpListener,
    provider: Arc<Provider>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let app = Router::new()
        .merge(api::routes())
        .merge(control::routes(provider.clone()))
        .merge(page::routes())
        .fallback(api::unknown)
        .method_not_allowed_fallback(api::unknown)
        .with_state(provider.clone());
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let grace = async {
        shutdown.cancelled().await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    let ticks = async {
        let mut interval = tokio::time::interval(TICK);
        loop {
            interval.tick().await;
            provider.tick().await;
        }
    };
    let result = tokio::select! {
        result = server.into_future() => result,
        () = grace => Ok(()),
        () = ticks => Ok(()),
    };
    shutdown.cancel();
    provider.courier.stopped().await;
    // Waits for a write under way, so that the next to open the file is its only writer.
    result.and(provider.store.flush_all().await)
}
