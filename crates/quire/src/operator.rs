//! `quire keys` and `quire audit`: what an operator does to auth's database from a terminal, whether auth runs or
//! not.

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use quire_auth::operator::{KeyInfo, Operator, OperatorConfig};
use quire_clock::{Timestamp, World};
use quire_serve::settings::Settings;

use crate::cli::KeysCommand;
use crate::installation::{Context, Installation};

/// # Errors
/// The settings cannot be used, the database does not answer, or there is no such key.
pub async fn keys(command: KeysCommand, mut settings: Settings, world: World) -> anyhow::Result<()> {
    let standby = settings.seconds("QUIRE_KEY_STANDBY_SECONDS", Duration::from_secs(600));
    let operator = open(settings, world.clone()).await?;
    match command {
        KeysCommand::List => {
            for key in operator.keys().await? {
                say(&line(&key));
            }
        }
        KeysCommand::Rotate { now } => {
            let rotated = operator.rotate(if now { Duration::ZERO } else { standby }).await?;
            if rotated.activate_at <= world.now() {
                say(&format!("{} signs now", rotated.kid));
            } else {
                say(&format!(
                    "{} is published and signs from {}",
                    rotated.kid,
                    rotated.activate_at.rfc3339()
                ));
            }
        }
        KeysCommand::Revoke { kid } => {
            let key = operator.revoke(&kid).await?;
            say(&line(&key));
        }
    }
    Ok(operator.close().await?)
}

/// # Errors
/// The log is broken, or cannot be read.
pub async fn verify_audit(head: Option<&str>, settings: Settings, world: World) -> anyhow::Result<()> {
    let noted = head.map(read_head).transpose()?;
    verify_orders(settings.clone(), &world).await?;
    let operator = open(settings, world).await?;
    let report = operator.verify_audit(noted).await.context("the audit log is broken")?;
    operator.close().await?;
    say(&format!("{} rows verified; the chain is whole", report.verified));
    if report.unchained > 0 {
        say(&format!("{} rows from before the chain are not protected", report.unchained));
    }
    if report.pruned_seq > 0 {
        say(&format!("rows up to {} were deleted by retention", report.pruned_seq));
    }
    say(&format!("head {}:{}", report.head_seq, report.head_hash));
    Ok(())
}

/// Payment keeps a chain for every order.
async fn verify_orders(mut settings: Settings, world: &World) -> anyhow::Result<()> {
    let installation = Installation::read(&mut settings, world);
    let url = installation.database_url(&mut settings, Context::Payment);
    settings.finish()?;
    let database =
        quire_database::Settings { url, schema: Context::Payment.name().to_owned(), max_connections: 2 };
    let verified = quire_payment::operator::verify_audit(&database).await?;
    for broken in &verified.broken {
        say(broken);
    }
    anyhow::ensure!(verified.broken.is_empty(), "the audit log of payment is broken");
    say(&format!("{} rows of {} orders verified; their chains are whole", verified.rows, verified.orders));
    Ok(())
}

fn read_head(text: &str) -> anyhow::Result<(i64, &str)> {
    let wrong = || format!("--head is `{text}`: the `seq:hash` of an earlier run is accepted");
    let (seq, hash) = text.split_once(':').with_context(wrong)?;
    Ok((seq.parse().with_context(wrong)?, hash))
}

async fn open(mut settings: Settings, world: World) -> anyhow::Result<Operator> {
    let installation = Installation::read(&mut settings, &world);
    let common = installation.common(&mut settings, Context::Auth);
    let config = OperatorConfig::read(&mut settings, &common);
    settings.finish()?;
    Ok(Operator::open(&config, world).await?)
}

fn line(key: &KeyInfo) -> String {
    let since = |word: &str, moment: Option<Timestamp>| {
        moment.map(|moment| format!("  {word} {}", moment.rfc3339())).unwrap_or_default()
    };
    format!(
        "{}  {:<8}  signs from {}{}{}",
        key.kid,
        key.state,
        key.activate_at.rfc3339(),
        since("retired", key.retired_at),
        since("revoked", key.revoked_at),
    )
}

/// Prints a line of what a command was asked for. A reader who has gone away, such as `head`, is no error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
