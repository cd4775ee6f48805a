//! The commands.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use quire_clock::World;
use quire_serve::settings::Settings;
use quire_serve::telemetry::{self, TelemetryConfig, TelemetryGuard};

use crate::roles::Role;

/// Sells and produces long documents.
#[derive(Debug, Parser)]
#[command(name = "quire", version, about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process (the default): SQLite, data in ./quire-data, http://127.0.0.1:8080.
    Serve,
    /// Walk one customer from magic link to a finished PDF, on free ports with a temporary data folder.
    Demo {
        /// Where the PDF goes.
        #[arg(long, default_value = "quire-demo.pdf")]
        output: PathBuf,
        /// Pages to order.
        #[arg(long, default_value_t = 12)]
        pages: i32,
    },
    /// Apply the missing migrations of every service's database.
    Migrate,
    /// Check settings, databases, Redis, payment provider, mail and typesetting, and say how to mend what fails.
    Doctor,
    /// Signing keys: list them, rotate them, take one out of use.
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Compare the payment provider, the ledger and the jobs, mend what differs, and print a line for each difference:
    /// the running payment service does the work. A second run prints nothing.
    Reconcile {
        /// Look only.
        #[arg(long)]
        dry_run: bool,
    },
    /// Jobs: list, show, replay, cancel, retry, pause, resume and order them; the running background-job service does the work.
    Jobs {
        #[command(subcommand)]
        command: crate::jobs::JobsCommand,
    },
    /// The audit logs.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Try to get past the sign-in of a running deployment of your own, and say line by line what held. Leaves
    /// throw-away users and mails behind.
    Attack(crate::attack::Arguments),
    /// Exit 0 if something is ready: http(s)://host/path or grpc://host:port[/service].
    Probe { url: String },
    /// Run the auth service.
    Auth,
    /// Run the document service.
    Document,
    /// Run the payment service.
    Payment,
    /// Run the background-job service.
    BackgroundJob,
    /// Run the gateway.
    Gateway,
    /// Run the Stripe-compatible local payment provider.
    Sandbox,
    /// Child process of background-job.
    #[command(hide = true)]
    Typeset,
    /// Child process of document.
    #[command(hide = true)]
    ReadSource,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Show every signing key and where it is in its life.
    List,
    /// Publish a new key. It signs after QUIRE_KEY_STANDBY_SECONDS (600), when every verifier knows it.
    Rotate {
        /// Let it sign at once, also one that waits already.
        #[arg(long)]
        now: bool,
    },
    /// Take a key out of use at once, because it leaked: every token it has signed ends.
    Revoke { kid: String },
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Recompute the hash chains of auth's log and of every order's, and say where they are broken.
    Verify {
        /// The head of auth's log that an earlier run printed, as `seq:hash`: shows whether the end was cut off since.
        #[arg(long)]
        head: Option<String>,
    },
}

/// Runs a command to its end.
///
/// # Errors
/// Says what failed, for the person at the keyboard.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    // Two threads at least: with one, an exporter of traces that waits can hold up everything else.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)))
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let outcome = runtime.block_on(dispatch(command));
    // Tasks that ignore the shutdown, such as a blocked read, must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let mut settings = Settings::from_env();
    let world = crate::fail_points::install(&mut settings, World::system());
    let role = match command {
        Command::Serve => {
            let _telemetry = start_telemetry(&mut settings, "quire", "info")?;
            crate::embedded::serve(settings, world).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Demo { output, pages } => {
            let _telemetry = start_telemetry(&mut settings, "quire-demo", "error")?;
            crate::demo::run(&output, pages, world).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Migrate => {
            let _telemetry = start_telemetry(&mut settings, "quire-migrate", "info")?;
            crate::migrate::run(settings).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Doctor => {
            let healthy = crate::doctor::run(settings, world).await;
            return Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Keys { command } => {
            let _telemetry = start_telemetry(&mut settings, "quire-keys", "warn")?;
            crate::operator::keys(command, settings, world).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Audit { command: AuditCommand::Verify { head } } => {
            let _telemetry = start_telemetry(&mut settings, "quire-audit", "warn")?;
            crate::operator::verify_audit(head.as_deref(), settings, world).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Reconcile { dry_run } => {
            let _telemetry = start_telemetry(&mut settings, "quire-reconcile", "warn")?;
            crate::reconcile::run(dry_run, settings, world).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Jobs { command } => {
            let _telemetry = start_telemetry(&mut settings, "quire-jobs", "warn")?;
            crate::jobs::run(command, settings, world).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Attack(arguments) => return crate::attack::command(arguments, world).await,
        Command::Probe { url } => {
            crate::probe::run(&url).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Auth => Role::Auth,
        Command::Document => Role::Document,
        Command::Payment => Role::Payment,
        Command::BackgroundJob => Role::BackgroundJob,
        Command::Gateway => Role::Gateway,
        Command::Sandbox => Role::Sandbox,
        Command::Typeset | Command::ReadSource => anyhow::bail!("children are run by main"),
    };
    let _telemetry = start_telemetry(&mut settings, role.name(), "info")?;
    crate::roles::run(role, settings, world).await?;
    Ok(ExitCode::SUCCESS)
}

fn start_telemetry(settings: &mut Settings, name: &str, filter: &str) -> anyhow::Result<TelemetryGuard> {
    settings.default_to("QUIRE_LOG", filter);
    let config = TelemetryConfig::read(settings, name);
    let guard = telemetry::init(&config)?;
    // A panic's message may hold what was being worked on, such as a mail with its link: only its place is told.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked");
    }));
    Ok(guard)
}
