//! The command line of `quire attack`.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use quire_clock::World;
use secrecy::{ExposeSecret, SecretString};

use super::Options;

/// What the command is told.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The gateway, such as http://127.0.0.1:8080.
    url: String,
    /// The folder where the deployment puts its mails when no mail server is set.
    #[arg(long, value_name = "DIR")]
    mail_dir: Option<PathBuf>,
    /// An operator (QUIRE_ADMIN_EMAILS) whose mails are in that folder, too: a throw-away user is blocked and
    /// unblocked in their name.
    #[arg(long, value_name = "ADDRESS")]
    admin_email: Option<String>,
    /// Domain of the addresses that are made up; mails are sent to them.
    #[arg(long, default_value = "example.org")]
    domain: String,
    /// A genuine access token, where mails cannot be read: what needs a mail is skipped then.
    #[arg(long, env = "QUIRE_ATTACK_ACCESS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    access_token: Option<SecretString>,
    /// The refresh token that goes with it; it is not spent.
    #[arg(long, env = "QUIRE_ATTACK_REFRESH_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    refresh_token: Option<SecretString>,
    /// Pairs of answer times to compare, if the limits allow so many.
    #[arg(long, default_value_t = 40)]
    samples: usize,
}

/// Runs the attack and prints every line of it. Fails unless everything held.
///
/// # Errors
/// As [`super::run`].
pub async fn command(arguments: Arguments, world: World) -> anyhow::Result<ExitCode> {
    let exposed = |token: Option<SecretString>| token.map(|token| token.expose_secret().to_owned());
    let options = Options {
        mail_dir: arguments.mail_dir,
        admin_email: arguments.admin_email,
        domain: arguments.domain,
        access_token: exposed(arguments.access_token),
        refresh_token: exposed(arguments.refresh_token),
        samples: arguments.samples,
        listener: |line| say(line),
        ..Options::new(arguments.url, world)
    };
    let report = super::run(options).await?;
    say(&report);
    Ok(if report.held() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "the report is for the person who runs it")]
fn say(line: &dyn Display) {
    println!("{line}");
}
