//! Documents, their page rule, sources, outline, sections and exports.
//!
//! Customers describe documents and upload sources; payment checks that an order can be delivered; one job
//! at a time writes the document, behind a fence of job id and epoch. Uploaded files are read in a child
//! process ([`reader::run_child`]), because no reader of foreign files can be trusted to end well.

mod capacity;
mod config;
mod documents;
mod error;
mod exports;
mod fallback;
mod files;
mod grpc;
mod id;
mod orders;
mod outline;
mod outline_review;
mod page_count;
mod page_token;
mod preview;
pub mod reader;
mod sources;
mod spec;
mod spool;
mod status;
mod store;
mod text_rule;
mod writing;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use quire_clock::World;
use quire_database::{Database, DatabaseError};
use quire_idempotency::Keys;
use quire_identity::{Gatekeeper, MasterSecret, SecretError, ServiceIdentity};
use quire_migrations::DocumentMigrator;
use quire_proto::document::v1::document_service_server::DocumentServiceServer;
use quire_serve::client::AddressError;
use quire_serve::grpc::{ServeError, Server};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use page_count::{PageCount, PageRule};
pub use spec::{Kind, SpecRules, Writer};

use capacity::Capacities;
use documents::Documents;
use error::DocumentError;
use exports::Exports;
use files::Files;
use orders::Orders;
use outline::Outlines;
use reader::SourceReader;
use sources::Sources;
use spool::Spool;
use store::Store;
use writing::Writing;

/// The name in service tokens and logs.
const NAME: &str = "document";
/// A message may be this large: a section of a hundred pages is about one mebibyte of blocks.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Idempotency keys are kept for so long, as payment keeps its own by default.
const KEY_RETENTION: Duration = Duration::from_secs(35 * 24 * 3600);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// Files without a row are removed at start when they are older than this.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);

/// Why the service did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the address of auth cannot be used")]
    Address(#[from] AddressError),
    #[error("the database of documents cannot be opened")]
    Database(#[from] DatabaseError),
    #[error("the database of documents cannot be migrated")]
    Migration(#[from] sea_orm::DbErr),
    #[error("the folder of files cannot be used")]
    Folder(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Runs the service until the shutdown.
///
/// # Errors
/// A part that it needs cannot be opened, or the listener breaks.
pub async fn serve(
    config: Config,
    world: World,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let master = MasterSecret::new(config.master_secret.clone())?;
    let auth = quire_serve::client::channel(&config.auth_url)?;
    let identity = ServiceIdentity::new(NAME, world.clone(), &master);
    // Whatever ends the service also ends the following of auth.
    let following = shutdown.child_token();
    let gatekeeper = Gatekeeper::following(auth, identity, world.clone(), &master, following.clone());
    let _ended = following.drop_guard();
    gatekeeper.expose(&config.metrics.scope(NAME));
    serve_with(config, gatekeeper, world, listener, shutdown).await
}

/// The same with a gatekeeper of the caller's.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with(
    config: Config,
    gatekeeper: Gatekeeper,
    world: World,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let database = quire_database::open(&config.database).await?;
    if config.migrate {
        database.migrate::<DocumentMigrator>().await?;
    }
    let folder = |error: DocumentError| StartError::Folder(error.into());
    let store = Store::new(database.clone());
    let files = Files::local(&config.data_dir.join("files")).map_err(folder)?;
    let spool = Spool::open(config.data_dir.join("incoming")).map_err(|error| folder(error.into()))?;
    let keys = Keys::new(database.clone(), world.clone());
    let sweeper = tokio::spawn(sweep(store.clone(), files.clone(), spool.clone(), world.clone()));
    let pruner = tokio::spawn(prune(keys.clone()));
    let metrics = config.metrics.clone();
    let grpc = build(config, gatekeeper, keys, (store, files, spool), &world);
    let server = DocumentServiceServer::new(grpc).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let checked = database.clone();
    let outcome = Server::new(NAME, world, listener)
        .add(server)
        .ready(move || ready(checked.clone()))
        .metrics(&metrics)
        .run(shutdown)
        .await;
    sweeper.abort();
    pruner.abort();
    Ok(outcome?)
}

fn build(
    config: Config,
    gatekeeper: Gatekeeper,
    keys: Keys,
    (store, files, spool): (Store, Files, Spool),
    world: &World,
) -> grpc::Grpc {
    let capacities = Arc::new(Capacities::new(store.clone()));
    let writing = Arc::new(Writing { store: store.clone(), files: files.clone(), world: world.clone() });
    grpc::Grpc {
        gatekeeper,
        keys,
        documents: Documents {
            store: store.clone(),
            files: files.clone(),
            rules: config.rules,
            world: world.clone(),
        },
        orders: Orders { store: store.clone(), capacities: capacities.clone(), world: world.clone() },
        sources: Sources {
            store: store.clone(),
            files: files.clone(),
            spool: spool.clone(),
            reader: SourceReader::new(config.reader_program),
            capacities,
            max_bytes: config.source_max_bytes,
            max_characters: config.sources_max_characters,
            world: world.clone(),
        },
        outlines: Outlines { store: store.clone(), world: world.clone() },
        exports: Exports { store, files, spool, writing: writing.clone(), world: world.clone() },
        writing,
    }
}

async fn ready(database: Database) -> Result<(), String> {
    database.check::<DocumentMigrator>().await.map_err(|error| error.to_string())
}

/// Drops idempotency keys that are older than anybody's retries.
async fn prune(keys: Keys) {
    loop {
        if let Err(error) = keys.prune(KEY_RETENTION).await {
            tracing::warn!(%error, "old idempotency keys cannot be dropped");
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

/// Removes what a process that was killed left between a file and its row.
async fn sweep(store: Store, files: Files, spool: Spool, world: World) {
    let old = world.now().minus(ORPHAN_AGE);
    let outcome = async {
        let incoming = spool.sweep(old).await?;
        let keys = store.source_keys().await?.into_iter().chain(store.export_keys().await?);
        let known: HashSet<String> = keys.collect();
        Ok::<_, DocumentError>((incoming, files.sweep(&known, old).await?))
    };
    match outcome.await {
        Ok((0, 0)) => {}
        Ok((incoming, stored)) => tracing::info!(incoming, stored, "files without a row were removed"),
        Err(error) => tracing::warn!(%error, "files without a row could not be looked for"),
    }
}
