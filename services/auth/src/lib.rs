//! Sign-in by magic link, sessions, signing keys and the audit log.
//!
//! Auth is the only service that can mint a token. The others verify access tokens by themselves with its public
//! keys (`ListSigningKeys`) and follow its stream of revocations. Nothing that could be replayed is stored: links
//! and codes are kept as hashes, refresh tokens as a generation counter, private keys sealed.

mod alerts;
mod audit;
mod change;
mod config;
mod email;
mod error;
mod grpc;
mod janitor;
mod keys;
mod magic_links;
mod mail;
mod metrics;
pub mod operator;
mod page;
mod revocations;
mod sessions;
mod store;
mod tokens;
mod users;

use std::sync::Arc;

use quire_clock::World;
use quire_database::{Database, DatabaseError};
use quire_identity::{Gatekeeper, MasterSecret, SecretError};
use quire_limit::{Limiter, LinkError};
use quire_migrations::AuthMigrator;
use quire_proto::auth::v1::auth_service_server::AuthServiceServer;
use quire_serve::grpc::{ServeError, Server};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::alerts::Relay;
use crate::audit::ChainKey;
use crate::change::{Books, Writer};
use crate::grpc::Grpc;
use crate::janitor::Janitor;
use crate::keys::{Keyring, Seals};
use crate::magic_links::{CodeKey, MagicLinks};
use crate::mail::{Folder, Mailer, Post, PostParts, Smtp};
use crate::metrics::AuthMetrics;
use crate::revocations::Revocations;
use crate::sessions::Sessions;
use crate::tokens::Tokens;
use crate::users::Users;

pub use config::{Config, MailRoute};
pub use email::Email;
pub use keys::{KeyError, Lives};
pub use mail::{Console, SmtpUrlError};
pub use sessions::Lifetimes;

/// Why auth did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the master secret cannot be used")]
    Secret(#[from] SecretError),
    #[error("auth's database cannot be opened")]
    Database(#[from] DatabaseError),
    #[error("auth's database cannot be migrated")]
    Migrate(#[from] sea_orm::DbErr),
    #[error("auth's signing key cannot be used")]
    Keys(#[from] KeyError),
    #[error("QUIRE_SMTP_URL cannot be used")]
    Smtp(#[from] SmtpUrlError),
    #[error("REDIS_URL cannot be used")]
    Redis(#[from] LinkError),
    #[error("auth's server failed")]
    Serve(#[from] ServeError),
}

/// Runs auth until the shutdown.
///
/// # Errors
/// The database cannot be opened or migrated, the signing key was sealed under another master secret, or the
/// listener breaks.
pub async fn serve(
    config: Config,
    world: World,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    // A child: what ends here must not end the other services of the process.
    let shutdown = shutdown.child_token();
    let master = MasterSecret::new(config.master_secret.clone())?;
    let database = quire_database::open(&config.database).await?;
    if config.migrate {
        database.migrate::<AuthMigrator>().await?;
    }
    let seals = seals(&config.key_secret, &master)?;
    let books = Books { database: database.clone(), world: world.clone(), chain: ChainKey::new(&master) };
    let keyring = Keyring::new(books.clone(), seals, config.key_lives);
    // Without tables the server waits, NOT_SERVING, for somebody to migrate.
    if database.check::<AuthMigrator>().await.is_ok() {
        keyring.get().await?;
    }
    let limiter = match &config.redis_url {
        Some(url) => {
            Limiter::connect(url.expose_secret(), world.clone(), master.derive("rate limit keys")).await?
        }
        None => Limiter::memory(world.clone()),
    };
    let scope = config.metrics.scope("auth");
    let (limiter, metrics) = (limiter.exposed(&scope), AuthMetrics::new(&scope));
    let mailer: Arc<dyn Mailer> = match &config.mail {
        MailRoute::Smtp(url) => Arc::new(Smtp::new(url)?),
        MailRoute::Folder(folder) => Arc::new(Folder::new(folder.clone())),
    };
    let announced = Arc::new(Notify::new());
    // Ends after everything that may still commit something.
    let last = CancellationToken::new();
    let (writer, writing) = Writer::start(books, announced.clone(), last.clone());
    let writing = tokio::spawn(writing);
    let parts = PostParts {
        mailer: mailer.clone(),
        from: config.mail_from.clone(),
        writer: writer.clone(),
        limiter: limiter.clone(),
        limit: config.link_limit.clone(),
        console: config.console.clone(),
        metrics: metrics.clone(),
    };
    let (post, sending) = Post::start(parts, shutdown.clone());
    let relay = Relay {
        database: database.clone(),
        world: world.clone(),
        writer: writer.clone(),
        mailer,
        from: config.mail_from.clone(),
        metrics: metrics.clone(),
    };
    let alerted = Arc::new(Notify::new());

    let sessions = Sessions {
        database: database.clone(),
        world: world.clone(),
        writer: writer.clone(),
        tokens: Tokens::new(keyring.clone(), world.clone(), config.access_lifetime),
        lifetimes: config.sessions,
        alerted: alerted.clone(),
        metrics: metrics.clone(),
        admins: config.admins.clone(),
    };
    let links = MagicLinks {
        world: world.clone(),
        writer: writer.clone(),
        sessions: sessions.clone(),
        post,
        limiter: limiter.clone(),
        limit: config.link_limit.clone(),
        lifetime: config.link_lifetime,
        codes: CodeKey::new(&master),
        sign_in_url: config.sign_in_url.clone(),
        metrics,
    };
    let revocations =
        Revocations::new(database.clone(), world.clone(), config.access_lifetime, shutdown.clone());
    let janitor = Janitor {
        writer: writer.clone(),
        database: database.clone(),
        world: world.clone(),
        audit_retention: config.audit_retention,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(sending);
    tasks.spawn(relay.run(alerted, shutdown.clone()));
    tasks.spawn(revocations.clone().keep(keyring.clone(), writer.clone(), announced));
    tasks.spawn(janitor.run(shutdown.clone()));

    let service = Grpc {
        gatekeeper: Gatekeeper::new(world.clone(), Arc::new(keyring.clone()), &master),
        links,
        sessions,
        users: Users { database: database.clone(), writer },
        keyring: keyring.clone(),
        revocations,
        database: database.clone(),
        limiter,
        mail_limit: config.link_limit.clone(),
    };
    let ready = database.clone();
    let served = Server::new("auth", world, listener)
        .add(AuthServiceServer::new(service))
        .ready(move || is_ready(ready.clone(), keyring.clone()))
        .metrics(&config.metrics)
        .run(shutdown.clone())
        .await;
    // A server that broke by itself must not leave the others running.
    shutdown.cancel();
    while let Some(ended) = tasks.join_next().await {
        if ended.is_err() {
            tracing::error!("a task of auth panicked");
        }
    }
    last.cancel();
    if writing.await.is_err() {
        tracing::error!("the writer of auth panicked");
    }
    if let Err(error) = database.close().await {
        quire_fault::log_internal("auth", &error);
    }
    Ok(served?)
}

fn seals(key_secret: &Option<secrecy::SecretString>, master: &MasterSecret) -> Result<Seals, SecretError> {
    let key_secret = key_secret.clone().map(MasterSecret::new).transpose()?;
    Ok(Seals::new(master, key_secret.as_ref()))
}

async fn is_ready(database: Database, keyring: Keyring) -> Result<(), String> {
    database.check::<AuthMigrator>().await.map_err(|error| error.to_string())?;
    keyring.get().await.map(|_| ()).map_err(|error| error.to_string())
}
