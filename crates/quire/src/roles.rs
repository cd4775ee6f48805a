//! One role of a distributed installation: one service, or the gateway, or the sandbox.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use quire_clock::World;
use quire_gateway::Config as GatewayConfig;
use quire_sandbox::{Sandbox, SandboxConfig};
use quire_serve::metrics::Metrics;
use quire_serve::settings::Settings;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::installation::{Context, Installation};
use crate::signals;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Auth,
    Document,
    Payment,
    BackgroundJob,
    Gateway,
    Sandbox,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "quire-auth",
            Self::Document => "quire-document",
            Self::Payment => "quire-payment",
            Self::BackgroundJob => "quire-background-job",
            Self::Gateway => "quire-gateway",
            Self::Sandbox => "quire-sandbox",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Auth => 50051,
            Self::Document => 50052,
            Self::Payment => 50053,
            Self::BackgroundJob => 50054,
            Self::Gateway => 8080,
            Self::Sandbox => 12111,
        }
    }
}

/// Every service's configuration, read together so that all mistakes are reported together.
pub(crate) struct Services {
    pub(crate) auth: quire_auth::Config,
    pub(crate) document: quire_document::Config,
    pub(crate) payment: Option<quire_payment::Config>,
    pub(crate) job: Option<quire_background_job::Config>,
    pub(crate) gateway: GatewayConfig,
}

impl Services {
    /// `alone`: this process holds the lock of the data folder.
    pub(crate) fn read(settings: &mut Settings, installation: &Installation, alone: bool) -> Self {
        let document = installation.common(settings, Context::Document);
        let payment = installation.common(settings, Context::Payment);
        Self {
            auth: auth(settings, installation),
            document: quire_document::Config::read(settings, &document),
            payment: quire_payment::Config::read(settings, &payment),
            job: {
                let common = installation.common(settings, Context::Job);
                quire_background_job::Config::read(settings, &common, alone)
            },
            gateway: gateway(settings, installation),
        }
    }

    /// All of them count there.
    pub(crate) fn counting_in(mut self, metrics: &Metrics) -> Self {
        self.auth.metrics = metrics.clone();
        self.document.metrics = metrics.clone();
        if let Some(payment) = &mut self.payment {
            payment.metrics = metrics.clone();
        }
        if let Some(job) = &mut self.job {
            job.metrics = metrics.clone();
        }
        self.gateway.metrics = metrics.clone();
        self
    }
}

/// Runs a role until SIGTERM or SIGINT.
///
/// # Errors
/// The settings cannot be used, the address is taken, or the service breaks.
pub async fn run(role: Role, mut settings: Settings, world: World) -> anyhow::Result<()> {
    let installation = Installation::read(&mut settings, &world);
    let address = listen_address(role, &mut settings, installation.production);
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        if signals::asked_to_stop().await.is_ok() {
            tracing::info!("stopping");
            stop.cancel();
        }
    });
    let metrics = Metrics::default();
    let metrics_address = quire_serve::metrics::address(&mut settings);
    let listener = async |settings: &Settings| {
        settings.finish()?;
        if let Some(address) = metrics_address {
            tokio::spawn(metrics.clone().serve(bind(address).await?, shutdown.clone()));
        }
        let listener = bind(address).await?;
        tracing::info!(role = role.name(), address = %listener.local_addr()?, "listening");
        anyhow::Ok(listener)
    };
    match role {
        Role::Auth => {
            let mut config = auth(&mut settings, &installation);
            config.metrics = metrics.clone();
            quire_auth::serve(config, world, listener(&settings).await?, shutdown).await?;
        }
        Role::Document => {
            let common = installation.common(&mut settings, Context::Document);
            let mut config = quire_document::Config::read(&mut settings, &common);
            config.metrics = metrics.clone();
            quire_document::serve(config, world, listener(&settings).await?, shutdown).await?;
        }
        Role::Payment => {
            let common = installation.common(&mut settings, Context::Payment);
            let config = quire_payment::Config::read(&mut settings, &common);
            let listener = listener(&settings).await?;
            let mut config = config.context("the payment settings cannot be used")?;
            config.metrics = metrics.clone();
            quire_payment::serve(config, world, listener, shutdown).await?;
        }
        Role::BackgroundJob => {
            let common = installation.common(&mut settings, Context::Job);
            let config = quire_background_job::Config::read(&mut settings, &common, false);
            let listener = listener(&settings).await?;
            let mut config = config.context("the job settings cannot be used")?;
            config.metrics = metrics.clone();
            quire_background_job::serve(config, world, listener, shutdown).await?;
        }
        Role::Gateway => {
            let mut config = gateway(&mut settings, &installation);
            config.metrics = metrics.clone();
            quire_gateway::serve(config, world, listener(&settings).await?, shutdown).await?;
        }
        Role::Sandbox => {
            let public_url = settings.optional("QUIRE_SANDBOX_PUBLIC_URL").unwrap_or_default();
            let webhook_url =
                settings.text("QUIRE_SANDBOX_WEBHOOK_URL", "http://127.0.0.1:8080/api/v1/payment/webhook");
            let config = sandbox(&mut settings, &installation.data_dir, public_url, webhook_url);
            if installation.production {
                settings
                    .problem("the sandbox takes no real money: it does not run with QUIRE_ENV=production");
            }
            let listener = listener(&settings).await?;
            Sandbox::start(listener, config, world, shutdown).await?.join().await?;
        }
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{address} cannot be listened on"))
}

/// Auth's configuration; in development, sign-in links are also shown on the console.
fn auth(settings: &mut Settings, installation: &Installation) -> quire_auth::Config {
    let common = installation.common(settings, Context::Auth);
    let mut config = quire_auth::Config::read(settings, &common);
    if settings.choice("QUIRE_CONSOLE_LINKS", "true", &["true", "false"]) == "true" {
        config.show_links(std::sync::Arc::new(|line: &str| {
            #[expect(clippy::print_stderr, reason = "in development the console stands in for a mailbox")]
            {
                eprintln!("{line}");
            }
        }));
    }
    config
}

fn gateway(settings: &mut Settings, installation: &Installation) -> GatewayConfig {
    // The gateway has no database: only the addresses and the master secret are of use to it.
    let common = installation.common(settings, Context::Auth);
    GatewayConfig::read(settings, &common, installation.master.clone())
}

/// The local payment provider; it shares its key and its webhook secret with payment.
pub(crate) fn sandbox(
    settings: &mut Settings,
    data_dir: &Path,
    public_url: String,
    webhook_url: String,
) -> SandboxConfig {
    let key = settings.secret("QUIRE_STRIPE_API_KEY");
    let key = key
        .map_or(quire_payment::config::DEVELOPMENT_API_KEY.to_owned(), |key| key.expose_secret().to_owned());
    let mut secrets: Vec<String> = settings
        .secret_list("QUIRE_STRIPE_WEBHOOK_SECRETS")
        .iter()
        .map(|secret| secret.expose_secret().to_owned())
        .collect();
    if secrets.is_empty() {
        secrets.push(quire_payment::config::DEVELOPMENT_WEBHOOK_SECRET.to_owned());
    }
    SandboxConfig {
        api_keys: vec![key],
        webhook_url: Some(webhook_url),
        webhook_secrets: secrets,
        public_url,
        state_path: Some(data_dir.join("sandbox.json")),
        ..SandboxConfig::default()
    }
}

fn listen_address(role: Role, settings: &mut Settings, production: bool) -> SocketAddr {
    let host = if production { [0, 0, 0, 0] } else { [127, 0, 0, 1] };
    address(settings, "QUIRE_LISTEN", SocketAddr::from((host, role.port())))
}

/// An address to listen on.
pub(crate) fn address(settings: &mut Settings, name: &str, default: SocketAddr) -> SocketAddr {
    let text = settings.text(name, &default.to_string());
    text.parse().unwrap_or_else(|_| {
        settings.problem(format!("{name} is `{text}`: an address such as 127.0.0.1:8080 is accepted"));
        default
    })
}
