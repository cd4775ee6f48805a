//! A Stripe-compatible local payment provider with signed webhooks.
//!
//! It is a real HTTP server that the official clients can talk to: checkout sessions with a hosted page, payment
//! intents that a browser can confirm, charges, refunds, disputes, events, idempotency keys, and webhooks that are
//! signed, retried and kept over a restart. On demand it misbehaves as real providers do: it sends events twice, out
//! of order, late, never, or with a wrong signature; it takes days for a bank debit, fails refunds afterwards, loses
//! its own answers. No money moves.

mod api;
mod attempts;
mod authentication;
mod balance;
mod bank;
mod behaviour;
mod charges;
mod checkout;
mod control;
mod currency;
mod delivery;
mod desk;
mod dice;
mod disputes;
mod events;
mod exchange;
mod expand;
mod faults;
mod form;
mod handle;
mod html;
mod idempotency;
mod intents;
mod listing;
mod metadata;
mod methods;
mod page;
mod parcel;
mod payments;
mod provider;
mod record;
mod refunds;
mod refusal;
mod render;
pub mod signature;
mod signer;
mod store;
mod table;
mod transit;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use quire_clock::World;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use crate::attempts::Attempt;
pub use crate::bank::{Bank, Decision, RefundMode};
pub use crate::behaviour::Behaviour;
pub use crate::delivery::Retry;
pub use crate::disputes::{DisputeUpdate, NewDispute, Verdict};
pub use crate::faults::{WriteFault, WriteFaults};
pub use crate::handle::{ControlError, SandboxHandle};
pub use crate::transit::Transit;

use crate::delivery::{Courier, CourierParts};
use crate::faults::Faults;
use crate::idempotency::Running;
use crate::provider::{Keys, Provider};
use crate::store::Store;

/// The publishable key unless another one is set.
pub const DEFAULT_PUBLISHABLE_KEY: &str = "pk_test_quire_sandbox";

/// How often the clock is asked what is due.
const TICK: Duration = Duration::from_secs(1);

/// How long open connections may go on after the shutdown has begun.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// The settings of one provider. It has secrets in it, and so no `Debug`.
#[derive(Clone, Default)]
pub struct SandboxConfig {
    /// The keys that clients may use. At least one.
    pub api_keys: Vec<String>,
    /// The key with which a page may look at a payment intent and confirm it, given its client secret. If empty,
    /// [`DEFAULT_PUBLISHABLE_KEY`].
    pub publishable_key: String,
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
    /// What happens to deliveries on their way.
    pub transit: Transit,
    /// How the banks behave.
    pub bank: Bank,
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
            transit: config.transit,
            shutdown: shutdown.clone(),
        });
        let publishable_key = match config.publishable_key.as_str() {
            "" => DEFAULT_PUBLISHABLE_KEY,
            key => key,
        };
        let provider = Arc::new(Provider {
            store: store.clone(),
            world,
            public_url,
            keys: Keys::new(&config.api_keys, publishable_key),
            running: Running::default(),
            courier: courier.clone(),
            faults: Faults::default(),
            bank: Mutex::new(config.bank),
            shutdown: shutdown.clone(),
        });
        courier.submit(store.peek(|data| data.undelivered.clone()));
        let task = tokio::spawn(serve(listener, provider.clone(), shutdown));
        Ok(SandboxHandle::new(url, provider, task))
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
        .merge(authentication::routes())
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
