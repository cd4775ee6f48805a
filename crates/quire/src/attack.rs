//! `quire attack`: tries to get past the sign-in of a running deployment, over HTTP, and says what held.
//!
//! The scenarios are numbered; a line of the report names its number. Each asks for more than a status: the reason
//! of the refusal, what goes with it, and a genuine token or link that works before and after, so that a server
//! that refuses everything does not pass. Nothing but the deployment is ever contacted, every loop and every wait
//! has an end, and no token, link, code or verifier is shown.

mod answer;
mod codes;
mod command;
mod enumeration;
mod forge;
mod headers;
mod limits;
mod links;
mod mailbox;
mod report;
mod session;
mod shapes;
mod statistics;
mod target;
mod tokens;

use std::path::PathBuf;

use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quire_clock::World;

pub use command::{Arguments, command};
use mailbox::Mailbox;
pub use mailbox::decoded;
use report::{Finding, Verdict};
pub use report::{Line, Outcome, Report};
use target::Target;

/// What to attack, and with which means.
#[derive(Clone)]
pub struct Options {
    /// The gateway, such as `http://127.0.0.1:8080`.
    pub url: String,
    /// The folder where the deployment puts its mails.
    pub mail_dir: Option<PathBuf>,
    /// An operator whose mails are in that folder, too.
    pub admin_email: Option<String>,
    /// Of the addresses that are made up.
    pub domain: String,
    /// A genuine access token, for deployments whose mails cannot be read. Not used when they can.
    pub access_token: Option<String>,
    /// The refresh token that goes with it. It is never spent.
    pub refresh_token: Option<String>,
    /// Pairs of times that are compared, if the limits allow.
    pub samples: usize,
    pub world: World,
    /// Told about every line as soon as it is there: a run takes a while.
    pub listener: fn(&Line),
}

impl Options {
    /// With nothing but the address: at least a mail folder or an access token must be added.
    pub fn new(url: impl Into<String>, world: World) -> Self {
        Self {
            url: url.into(),
            mail_dir: None,
            admin_email: None,
            domain: "example.org".to_owned(),
            access_token: None,
            refresh_token: None,
            samples: 40,
            world,
            listener: |_| {},
        }
    }
}

/// One run.
struct Attack {
    target: Target,
    mailbox: Option<Mailbox>,
    admin_email: Option<String>,
    domain: String,
    given: Option<Given>,
    samples: usize,
    world: World,
    listener: fn(&Line),
    /// In every address that is made up, so that no run meets the mail budget of another.
    run_id: String,
    addresses: u32,
    report: Report,
}

/// Tokens of somebody who is signed in elsewhere. Has no `Debug`.
struct Given {
    access: String,
    refresh: Option<String>,
}

/// Runs every scenario. What does not hold is in the report, not in an error.
///
/// # Errors
/// The options lack what an attack needs, or nothing answers at the address.
pub async fn run(options: Options) -> anyhow::Result<Report> {
    if options.mail_dir.is_none() && options.access_token.is_none() {
        bail!("a genuine session is needed to compare with: give --mail-dir, or --access-token");
    }
    if let Some(folder) = &options.mail_dir
        && folder.exists()
        && !folder.is_dir()
    {
        bail!("{} is not a folder", folder.display());
    }
    let target = Target::reach(&options.url).await?;
    let given = options.access_token.filter(|_| options.mail_dir.is_none());
    let mut attack = Attack {
        target,
        mailbox: options.mail_dir.as_deref().map(Mailbox::new),
        admin_email: options.admin_email,
        domain: options.domain,
        given: given.map(|access| Given { access, refresh: options.refresh_token }),
        samples: options.samples,
        run_id: options.world.bytes::<4>().map(|byte| format!("{byte:02x}")).concat(),
        world: options.world,
        listener: options.listener,
        addresses: 0,
        report: Report::default(),
    };
    tokens::run(&mut attack).await;
    links::run(&mut attack).await;
    limits::run(&mut attack).await;
    Ok(attack.report)
}

impl Attack {
    /// Writes down how a check ended.
    fn note(&mut self, row: u8, what: impl Into<String>, verdict: Verdict) {
        let verdict = verdict.map(|()| String::new());
        self.note_measured(row, what, verdict);
    }

    /// The same for a check that has something to tell even if it passed.
    fn note_measured(&mut self, row: u8, what: impl Into<String>, verdict: Verdict<String>) {
        let (outcome, detail) = match verdict {
            Ok(measured) => (Outcome::Pass, measured),
            Err(Finding::Wrong(what)) => (Outcome::Fail, what),
            Err(Finding::Untried(why)) => (Outcome::Skip, why),
        };
        let line = Line { row, outcome, what: what.into(), detail };
        (self.listener)(&line);
        self.report.lines.push(line);
    }

    /// As unpredictable as a link's token or verifier, and as long.
    fn secret(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.world.bytes::<32>())
    }
}
