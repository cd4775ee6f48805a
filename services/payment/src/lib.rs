//! Prices, orders, provider sessions, the webhook inbox and the outbox.
//!
//! The promise kept here: a paid order starts exactly one job, whatever is delivered twice, late, out of order
//! or during a crash. It rests on three unique keys. An event is stored once (its provider id); an order is paid
//! once (a conditional update from an unpaid status); a job is wished for once (the outbox intent
//! `start_job:<order>`). All three are written in one transaction, the webhook is acknowledged after it, and the
//! relay repeats the wish until the job service, which answers one job per order for ever, has said yes.

mod apply;
mod audit;
mod backoff;
mod books;
mod checkout;
pub mod config;
mod currency;
mod dead_letters;
mod error;
mod grpc;
mod inbox;
mod metrics;
pub mod operator;
mod orders;
mod outbox;
mod peers;
mod pricing;
pub mod provider;
mod reconcile;
mod refund_requests;
mod relay;
mod settle;
pub mod signature;
mod store;
mod sweep;
mod transition;

use std::sync::Arc;

use quire_clock::World;
use quire_database::DatabaseError;
use quire_identity::{Gatekeeper, ServiceIdentity};
use quire_limit::SeenKeys;
use quire_migrations::PaymentMigrator;
use quire_proto::payment::v1::payment_service_server::PaymentServiceServer;
use quire_serve::client::{AddressError, channel};
use quire_serve::grpc::{ServeError, Server};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use currency::Currency;
pub use pricing::{Pricing, Quote};

use checkout::Checkout;
use dead_letters::DeadLetters;
use inbox::Inbox;
use inbox::webhook::Webhook;
use metrics::PaymentMetrics;
use orders::Orders;
use peers::Peers;
use provider::{ProviderError, Stripe};
use reconcile::Reconciler;
use refund_requests::RefundRequests;
use relay::Relay;
use settle::Settlement;
use signature::Verifier;

/// The service's name in tokens and logs.
pub const NAME: &str = "payment";

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the payment database cannot be opened")]
    Database(#[from] DatabaseError),
    #[error("the payment database cannot be migrated")]
    Migration(#[source] sea_orm::DbErr),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("REDIS_URL is not a redis address")]
    Redis,
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the payment server failed")]
    Serve(#[from] ServeError),
    /// With the panic, if it was one.
    #[error("a background task of the payment service ended before the shutdown")]
    Background(#[source] Option<JoinError>),
}

/// Serves until the shutdown. Dropping the future ends the background tasks too.
///
/// # Errors
/// A part cannot be set up, or the server or a background task breaks. A database or peer that does not answer later is no such error:
/// the service is then not ready, or its tasks wait.
pub async fn serve(
    config: Config,
    world: World,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let database = quire_database::open(&config.database).await?;
    if config.migrate {
        database.migrate::<PaymentMigrator>().await.map_err(StartError::Migration)?;
    }
    let identity = ServiceIdentity::new(NAME, world.clone(), &config.master);
    // Whatever ends the service also ends the following of auth.
    let following = shutdown.child_token();
    let gatekeeper = Gatekeeper::following(
        channel(&config.auth_url)?,
        identity.clone(),
        world.clone(),
        &config.master,
        following.clone(),
    );
    gatekeeper.expose(&config.metrics.scope(NAME));
    let _ended = following.drop_guard();
    let peers = Peers::new(channel(&config.document_url)?, channel(&config.job_url)?, identity);
    let provider = Stripe::new(&config.provider, world.clone())?;
    let seen = match &config.redis_url {
        Some(url) => SeenKeys::connect(url.expose_secret()).await.map_err(|_| StartError::Redis)?,
        None => SeenKeys::None,
    };
    let wake = Arc::new(Notify::new());

    let checkout = Checkout {
        database: database.clone(),
        world: world.clone(),
        provider: provider.clone(),
        peers: peers.clone(),
        pricing: config.pricing,
        public_url: config.public_url,
        life: config.checkout_life,
        wake: wake.clone(),
    };
    let metrics = PaymentMetrics::new(&config.metrics.scope(NAME));
    let inbox = Inbox {
        database: database.clone(),
        world: world.clone(),
        seen,
        livemode: config.livemode,
        wake: wake.clone(),
    };
    let settlement = Settlement { database: database.clone(), world: world.clone(), wake: wake.clone() };
    let keys = quire_idempotency::Keys::new(database.clone(), world.clone());
    let reconciler = Reconciler {
        database: database.clone(),
        world: world.clone(),
        provider: provider.clone(),
        peers: peers.clone(),
        inbox: inbox.clone(),
        checkout: checkout.clone(),
        settlement: settlement.clone(),
        metrics: metrics.clone(),
        grace: config.reconcile_grace,
    };
    let service = grpc::Grpc {
        gatekeeper,
        pricing: config.pricing,
        checkout: checkout.clone(),
        webhook: Webhook { inbox: inbox.clone(), verifier: Verifier::new(config.webhook_secrets), metrics },
        orders: Orders { database: database.clone(), checkout: checkout.clone() },
        settlement,
        keys: keys.clone(),
        refunds: RefundRequests { database: database.clone(), world: world.clone(), wake: wake.clone() },
        reconciler: reconciler.clone(),
        dead_letters: DeadLetters { inbox: inbox.clone() },
    };
    let relay = Relay { database: database.clone(), world: world.clone(), provider, peers, wake };
    // Dropped with this future, and so are its tasks.
    let mut background = JoinSet::new();
    background.spawn(relay.run(shutdown.clone()));
    background.spawn(sweep::run(checkout, shutdown.clone()));
    background.spawn(inbox::retry::run(inbox, keys, config.retention, shutdown.clone()));
    background.spawn(reconcile::run(reconciler, config.reconcile_every, shutdown.clone()));

    let checked = database.clone();
    let server = Server::new(NAME, world, listener)
        .metrics(&config.metrics)
        .add(PaymentServiceServer::new(service))
        .ready(move || {
            let database = checked.clone();
            async move { database.check::<PaymentMigrator>().await.map_err(|error| error.to_string()) }
        });
    tokio::select! {
        served = server.run(shutdown.clone()) => served?,
        error = early_end(&mut background, &shutdown) => return Err(error),
    }
    shutdown.cancel();
    while let Some(ended) = background.join_next().await {
        log_panic(ended);
    }
    if let Err(error) = database.close().await {
        tracing::warn!(%error, "the payment database did not close");
    }
    Ok(())
}

/// Waits for a background task that ends before the shutdown: none should. Never ends without one.
async fn early_end(background: &mut JoinSet<()>, shutdown: &CancellationToken) -> StartError {
    while let Some(ended) = background.join_next().await {
        if !shutdown.is_cancelled() {
            return StartError::Background(ended.err());
        }
        // The server still drains.
        log_panic(ended);
    }
    std::future::pending().await
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a background task of the payment service broke during the shutdown");
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_background_task_that_ends_early_is_an_error() {
        let shutdown = CancellationToken::new();
        let mut background = JoinSet::new();
        background.spawn(std::future::pending());
        background.spawn(async { panic!("on purpose") });
        let error = early_end(&mut background, &shutdown).await;
        assert!(matches!(error, StartError::Background(Some(cause)) if cause.is_panic()));
        background.spawn(async {});
        let error = early_end(&mut background, &shutdown).await;
        assert!(matches!(error, StartError::Background(None)));
    }

    #[tokio::test]
    async fn tasks_that_end_at_the_shutdown_leave_the_server_its_drain() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let mut background = JoinSet::new();
        background.spawn(async {});
        // This runtime has one thread: the task runs now.
        tokio::task::yield_now().await;
        assert!(early_end(&mut background, &shutdown).now_or_never().is_none());
        assert!(background.is_empty());
    }
}
