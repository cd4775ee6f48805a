//! Sign-in by magic link, sessions, signing keys and the audit log.
//!
//! Auth is the only service that can mint a token. The others verify access tokens by themselves with its public
//! keys (`ListSigningKeys`). Nothing that could be replayed is stored: links are kept as hashes, refresh tokens as
//! a generation counter, the signing key sealed under the master secret.

mod audit;
mod config;
mod email;
mod error;
mod grpc;
mod keys;
mod magic_links;
mod mail;
mod sessions;
mod store;
mod tokens;

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
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::grpc::Grpc;
use crate::keys::Keyring;
use crate::magic_links::MagicLinks;
use crate::mail::{Folder, Mailer, Post, PostParts, Smtp};
use crate::sessions::Sessions;
use crate::tokens::Tokens;

pub use config::{Config, MailRoute};
pub use keys::KeyError;
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
    let audit = Audit::new(database.clone(), world.clone());
    let keyring = Keyring::new(database.clone(), world.clone(), audit.clone(), &master);
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
    let mailer: Arc<dyn Mailer> = match &config.mail {
        MailRoute::Smtp(url) => Arc::new(Smtp::new(url)?),
        MailRoute::Folder(folder) => Arc::new(Folder::new(folder.clone())),
    };
    let parts = PostParts {
        mailer,
        from: config.mail_from.clone(),
        database: database.clone(),
        audit: audit.clone(),
        console: config.console.clone(),
    };
    let (post, sending) = Post::start(parts, shutdown.clone());
    let sending = tokio::spawn(sending);

    let sessions = Sessions {
        database: database.clone(),
        world: world.clone(),
        audit: audit.clone(),
        tokens: Tokens::new(keyring.clone(), world.clone(), config.access_lifetime),
        lifetimes: config.sessions,
        admins: config.admins.clone(),
    };
    let links = MagicLinks {
        database: database.clone(),
        world: world.clone(),
        audit: audit.clone(),
        sessions: sessions.clone(),
        post,
        limiter,
        limit: config.link_limit.clone(),
        lifetime: config.link_lifetime,
        sign_in_url: config.sign_in_url.clone(),
    };
    let gatekeeper = Gatekeeper::new(world.clone(), Arc::new(keyring.clone()), &master);
    let service = Grpc { gatekeeper, links, sessions, keyring: keyring.clone(), audit };
    let ready = database.clone();
    let served = Server::new("auth", world, listener)
        .add(AuthServiceServer::new(service))
        .ready(move || is_ready(ready.clone(), keyring.clone()))
        .run(shutdown.clone())
        .await;
    // A server that broke by itself must not leave the sender running.
    shutdown.cancel();
    if sending.await.is_err() {
        tracing::error!("the mail queue panicked");
    }
    if let Err(error) = database.close().await {
        quire_fault::log_internal("auth", &error);
    }
    Ok(served?)
}

async fn is_ready(database: Database, keyring: Keyring) -> Result<(), String> {
    database.check::<AuthMigrator>().await.map_err(|error| error.to_string())?;
    keyring.get().await.map(|_| ()).map_err(|error| error.to_string())
}
