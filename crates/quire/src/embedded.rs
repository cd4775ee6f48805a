//! Everything in one process: the four services, the gateway and, unless another provider is set, the payment
//! sandbox, on loopback listeners, through the same channels as in production.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use quire_clock::World;
use quire_sandbox::{Sandbox, SandboxError, SandboxHandle};
use quire_serve::metrics::{self, METRICS_LISTEN, Metrics};
use quire_serve::settings::{Settings, SettingsError};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::folder_lock::{self, FolderLock};
use crate::installation::{Context, Installation};
use crate::roles::{self, Services};
use crate::signals;

/// How to start a whole system inside this process.
#[derive(Clone, Default)]
pub struct Options {
    pub data_dir: PathBuf,
    /// Settings as they would stand in the environment.
    pub settings: HashMap<String, String>,
    /// Every listener on a port that the system chooses.
    pub free_ports: bool,
    /// The `quire` executable, when this process is another one, as in tests.
    pub child_program: Option<PathBuf>,
}

/// Where a running system answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Urls {
    pub gateway: String,
    pub auth: String,
    pub document: String,
    pub payment: String,
    pub job: String,
    /// Empty when another payment provider is set.
    pub sandbox: String,
    /// Empty unless `QUIRE_METRICS_LISTEN` is set.
    pub metrics: String,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("the data folder {} cannot be used", folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error("{address} cannot be listened on: set {setting} to another address")]
    Listen { address: SocketAddr, setting: &'static str, source: std::io::Error },
    #[error("the payment sandbox cannot start")]
    Sandbox(#[from] SandboxError),
    #[error("{part} stopped")]
    Stopped { part: &'static str, source: Option<Box<dyn std::error::Error + Send + Sync>> },
    #[error("the system is not ready: {0}")]
    NotReady(String),
}

/// A running system.
pub struct Embedded {
    pub urls: Urls,
    data_dir: PathBuf,
    shutdown: CancellationToken,
    /// Cancelled when any part ends.
    ended: CancellationToken,
    parts: JoinSet<(&'static str, Result<(), Failure>)>,
    sandbox: Option<SandboxHandle>,
    _lock: FolderLock,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// So long may a start take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

struct Listeners {
    gateway: TcpListener,
    auth: TcpListener,
    document: TcpListener,
    payment: TcpListener,
    job: TcpListener,
    sandbox: TcpListener,
    metrics: Option<TcpListener>,
}

impl Embedded {
    /// Starts every part. They may not be ready yet: see [`Self::ready`].
    ///
    /// # Errors
    /// The settings cannot be used, the data folder is used by another process, or an address is taken.
    pub async fn start(options: Options, world: World) -> Result<Self, StartError> {
        let mut settings = Settings::from_map(options.settings);
        if !options.data_dir.as_os_str().is_empty() {
            settings.default_to("QUIRE_DATA_DIR", options.data_dir.display().to_string());
        }
        if let Some(program) = &options.child_program {
            settings.default_to("QUIRE_CHILD_PROGRAM", program.display().to_string());
        }
        start(settings, options.free_ports, world).await
    }

    /// Waits until every service answers that it can work.
    ///
    /// # Errors
    /// A part stopped, or a minute has passed.
    pub async fn ready(&self) -> Result<(), StartError> {
        let url = format!("{}/readyz", self.urls.gateway);
        // A proxy of the environment is for the world outside, not for this process.
        let client = reqwest::Client::builder().no_proxy().build();
        let client = client.map_err(|error| StartError::NotReady(error.to_string()))?;
        let looking = async {
            let mut last = "the gateway does not answer".to_owned();
            let deadline = tokio::time::Instant::now() + PATIENCE;
            while tokio::time::Instant::now() < deadline {
                match client.get(&url).send().await {
                    Ok(answer) if answer.status().is_success() => return Ok(()),
                    Ok(answer) => last = answer.text().await.unwrap_or_default(),
                    Err(_) => {}
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(StartError::NotReady(last))
        };
        tokio::select! {
            outcome = looking => outcome,
            () = self.ended.cancelled() => Err(StartError::NotReady("a part stopped; the log says why".to_owned())),
        }
    }

    /// The folder where mails are written when no SMTP server is set.
    pub fn mail_dir(&self) -> PathBuf {
        self.data_dir.join("mail")
    }

    /// The payment sandbox.
    ///
    /// # Panics
    /// If another payment provider was set.
    pub fn sandbox(&self) -> &SandboxHandle {
        self.sandbox.as_ref().expect("the sandbox runs unless QUIRE_STRIPE_URL is set")
    }

    /// Stops every part and waits until they have ended.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        while self.parts.join_next().await.is_some() {}
        if let Some(sandbox) = self.sandbox.take()
            && let Err(error) = sandbox.join().await
        {
            tracing::warn!(%error, "the sandbox did not stop cleanly");
        }
    }

    /// Runs until SIGTERM, SIGINT, or the end of any part, which must not leave a half system behind.
    async fn until_stopped(mut self) -> Result<(), StartError> {
        let outcome = tokio::select! {
            _ = signals::asked_to_stop() => {
                tracing::info!("stopping");
                Ok(())
            }
            ended = self.parts.join_next() => Err(match ended {
                Some(Ok((part, outcome))) => StartError::Stopped { part, source: outcome.err() },
                Some(Err(panic)) => StartError::Stopped { part: "a service", source: Some(panic.into()) },
                None => StartError::Stopped { part: "everything", source: None },
            }),
        };
        self.stop().await;
        outcome
    }
}

/// `quire serve`: everything in one process until it is told to stop.
///
/// # Errors
/// As [`Embedded::start`], and when a part stops by itself.
pub async fn serve(mut settings: Settings, world: World) -> Result<(), StartError> {
    let free_ports = settings.choice("QUIRE_FREE_PORTS", "false", &["true", "false"]) == "true";
    let system = start(settings, free_ports, world).await?;
    system.ready().await?;
    write_addresses(&system)
        .map_err(|source| StartError::Folder { folder: system.data_dir.clone(), source })?;
    tracing::info!(api = %system.urls.gateway, sandbox = %system.urls.sandbox, data = %system.data_dir.display(), "ready");
    system.until_stopped().await
}

async fn start(mut settings: Settings, free_ports: bool, world: World) -> Result<Embedded, StartError> {
    let listeners = Listeners::bind(&mut settings, free_ports).await?;
    let urls = listeners.urls();
    settings.default_to("QUIRE_PUBLIC_URL", &*urls.gateway);
    let own_sandbox = settings.optional("QUIRE_STRIPE_URL").is_none();
    settings.default_to("QUIRE_STRIPE_URL", &*urls.sandbox);
    let mut installation = Installation::read(&mut settings, &world);
    installation.auth_url.clone_from(&urls.auth);
    installation.document_url.clone_from(&urls.document);
    installation.payment_url.clone_from(&urls.payment);
    installation.job_url.clone_from(&urls.job);
    let data_dir = installation.data_dir.clone();
    let lock = folder_lock::take(&data_dir);
    let lock = lock.map_err(|source| StartError::Folder { folder: data_dir.clone(), source })?;
    // The lock proves that whoever held leases in the folder's own file is gone.
    let alone = installation.database_url(&mut settings, Context::Job) == installation.own_file(Context::Job);
    let metrics = Metrics::default();
    let services = Services::read(&mut settings, &installation, alone).counting_in(&metrics);
    let webhook = format!("{}/api/v1/payment/webhook", urls.gateway);
    let sandbox = roles::sandbox(&mut settings, &data_dir, urls.sandbox.clone(), webhook);
    settings.finish()?;
    let unusable = |part: &str| StartError::NotReady(format!("the settings of {part} cannot be used"));
    let payment = services.payment.ok_or_else(|| unusable("payment"))?;
    let job = services.job.ok_or_else(|| unusable("background-job"))?;

    let shutdown = CancellationToken::new();
    let sandbox = if own_sandbox {
        Some(Sandbox::start(listeners.sandbox, sandbox, world.clone(), shutdown.clone()).await?)
    } else {
        None
    };
    let mut parts = JoinSet::new();
    let token = || shutdown.clone();
    let ended = CancellationToken::new();
    spawn(
        &mut parts,
        &ended,
        "auth",
        quire_auth::serve(services.auth, world.clone(), listeners.auth, token()),
    );
    spawn(
        &mut parts,
        &ended,
        "document",
        quire_document::serve(services.document, world.clone(), listeners.document, token()),
    );
    spawn(
        &mut parts,
        &ended,
        "payment",
        quire_payment::serve(payment, world.clone(), listeners.payment, token()),
    );
    spawn(
        &mut parts,
        &ended,
        "background-job",
        quire_background_job::serve(job, world.clone(), listeners.job, token()),
    );
    spawn(
        &mut parts,
        &ended,
        "gateway",
        quire_gateway::serve(services.gateway, world, listeners.gateway, token()),
    );
    if let Some(listener) = listeners.metrics {
        let serving = metrics.serve(listener, token());
        spawn(&mut parts, &ended, "metrics", async {
            serving.await;
            Ok::<_, Infallible>(())
        });
    }
    let urls = if own_sandbox { urls } else { Urls { sandbox: String::new(), ..urls } };
    Ok(Embedded { urls, data_dir, shutdown, ended, parts, sandbox, _lock: lock })
}

fn spawn<E>(
    parts: &mut JoinSet<(&'static str, Result<(), Failure>)>,
    ended: &CancellationToken,
    part: &'static str,
    serving: impl Future<Output = Result<(), E>> + Send + 'static,
) where
    E: std::error::Error + Send + Sync + 'static,
{
    let ended = ended.clone().drop_guard();
    parts.spawn(async move {
        let _ended = ended;
        let outcome = serving.await;
        if let Err(error) = &outcome {
            quire_fault::log_internal(part, error);
        }
        (part, outcome.map_err(Failure::from))
    });
}

impl Listeners {
    async fn bind(settings: &mut Settings, free_ports: bool) -> Result<Self, StartError> {
        let mut bind = async |setting: &'static str, port: u16| {
            let default = SocketAddr::from(([127, 0, 0, 1], if free_ports { 0 } else { port }));
            listen(roles::address(settings, setting, default), setting).await
        };
        Ok(Self {
            gateway: bind("QUIRE_LISTEN", 8080).await?,
            auth: bind("QUIRE_AUTH_LISTEN", 50051).await?,
            document: bind("QUIRE_DOCUMENT_LISTEN", 50052).await?,
            payment: bind("QUIRE_PAYMENT_LISTEN", 50053).await?,
            job: bind("QUIRE_JOB_LISTEN", 50054).await?,
            sandbox: bind("QUIRE_SANDBOX_LISTEN", 12111).await?,
            metrics: match metrics::address(settings) {
                Some(address) => Some(listen(address, METRICS_LISTEN).await?),
                None => None,
            },
        })
    }

    fn urls(&self) -> Urls {
        let url = |listener: &TcpListener| {
            let address = listener.local_addr().expect("a bound listener has an address");
            // A wildcard is no address to connect to.
            let host =
                if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { address.ip().to_string() };
            format!("http://{host}:{}", address.port())
        };
        Urls {
            gateway: url(&self.gateway),
            auth: url(&self.auth),
            document: url(&self.document),
            payment: url(&self.payment),
            job: url(&self.job),
            sandbox: url(&self.sandbox),
            metrics: self.metrics.as_ref().map(url).unwrap_or_default(),
        }
    }
}

async fn listen(address: SocketAddr, setting: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, setting, source })
}

/// Tells scripts where everything answers; written only once it does.
fn write_addresses(system: &Embedded) -> std::io::Result<()> {
    let fresh = system.data_dir.join("addresses.json.new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(&system.urls)?)?;
    file.sync_all()?;
    std::fs::rename(fresh, system.data_dir.join("addresses.json"))
}
