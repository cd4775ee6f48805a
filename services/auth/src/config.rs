//! The settings of auth, read once and checked whole.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;
use quire_identity::MasterSecret;
use quire_limit::{By, RouteLimit};
use quire_serve::metrics::Metrics;
use quire_serve::settings::{Common, Settings, is_published};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::email::Email;
use crate::keys::Lives;
use crate::mail::{Console, Smtp};
use crate::sessions::Lifetimes;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// The link is one line of a mail, and a line has at most 998 characters.
const MAX_SIGN_IN_URL: usize = 900;
/// The limiter's name for links per address.
const LIMIT: &str = "mail";
/// Per address, and for the whole installation, so that nobody can make it a source of unwanted mail.
const DEFAULT_LIMIT: &str = "5/hour, 2000/hour by everybody";
const DEFAULT_SENDER: &str = "Quire <no-reply@localhost>";

/// Everything auth needs to know at start.
#[derive(Clone)]
pub struct Config {
    pub database: quire_database::Settings,
    pub migrate: bool,
    pub master_secret: SecretString,
    /// `QUIRE_KEY_SECRET`: seals the private signing keys. Only auth has it.
    pub key_secret: Option<SecretString>,
    pub key_lives: Lives,
    pub audit_retention: Duration,
    /// `REDIS_URL`: shares the count of links per address between replicas.
    pub redis_url: Option<SecretString>,
    pub link_lifetime: Duration,
    pub link_limit: RouteLimit,
    /// The page that reads the token out of the URL's fragment.
    pub sign_in_url: String,
    pub access_lifetime: Duration,
    pub sessions: Lifetimes,
    /// Addresses with the admin role.
    pub admins: Arc<HashSet<String>>,
    pub mail_from: Mailbox,
    pub mail: MailRoute,
    /// Where is counted; unless it is replaced, nobody sees it.
    pub metrics: Metrics,
    /// Set by [`Config::show_links`], in development only.
    pub(crate) console: Option<Console>,
    production: bool,
}

/// Where mails go.
#[derive(Clone)]
pub enum MailRoute {
    /// `QUIRE_SMTP_URL`.
    Smtp(SecretString),
    /// `.eml` files.
    Folder(PathBuf),
}

impl Config {
    /// Reads auth's settings; every mistake is noted in `settings`.
    pub fn read(settings: &mut Settings, common: &Common) -> Self {
        let production = settings.production();
        if let Err(error) = MasterSecret::new(common.master_secret.clone()) {
            settings.problem(format!("QUIRE_SECRET: {error}"));
        }
        let sessions = Lifetimes {
            idle: settings.seconds("QUIRE_SESSION_IDLE_SECONDS", 30 * DAY),
            absolute: settings.seconds("QUIRE_SESSION_ABSOLUTE_SECONDS", 90 * DAY),
            grace: Duration::from_secs(settings.number("QUIRE_REFRESH_GRACE_SECONDS", 10, 0..=60)),
            retry: Duration::from_secs(settings.number("QUIRE_REFRESH_RETRY_SECONDS", 86_400, 0..=604_800)),
        };
        Self {
            database: quire_database::Settings {
                url: common.database_url.clone(),
                schema: "auth".to_owned(),
                max_connections: settings.number("QUIRE_DATABASE_CONNECTIONS", 8, 2..=1000),
            },
            migrate: common.migrate,
            master_secret: common.master_secret.clone(),
            key_secret: read_key_secret(settings, common, production),
            key_lives: Lives {
                standby: settings.seconds("QUIRE_KEY_STANDBY_SECONDS", 10 * MINUTE),
                retired: sessions.idle,
            },
            audit_retention: settings.seconds("QUIRE_AUDIT_RETENTION_SECONDS", 400 * DAY),
            redis_url: settings.secret("REDIS_URL"),
            link_lifetime: settings.seconds("QUIRE_MAGIC_LINK_SECONDS", 15 * MINUTE),
            link_limit: read_limit(settings),
            sign_in_url: read_sign_in_url(settings),
            access_lifetime: settings.seconds("QUIRE_ACCESS_TOKEN_SECONDS", 15 * MINUTE),
            sessions,
            admins: Arc::new(read_admins(settings)),
            mail_from: read_sender(settings),
            mail: read_mail_route(settings, common, production),
            metrics: Metrics::default(),
            console: None,
            production,
        }
    }

    /// Shows sign-in links on a console, one a line. Without effect in production.
    pub fn show_links(&mut self, console: Console) {
        self.console = (!self.production).then_some(console);
    }
}

fn read_limit(settings: &mut Settings) -> RouteLimit {
    let text = settings.text("QUIRE_MAIL_LIMIT", DEFAULT_LIMIT);
    let parse = |text: &str| RouteLimit::parse(LIMIT, text, By::Mailbox, &[By::Mailbox, By::Everybody]);
    parse(&text).unwrap_or_else(|error| {
        settings.problem(format!("QUIRE_MAIL_LIMIT: {error}"));
        parse(DEFAULT_LIMIT).expect("the default is a limit")
    })
}

/// Whoever holds it and the database can mint tokens, so it is not the secret that every service shares.
pub(crate) fn read_key_secret(
    settings: &mut Settings,
    common: &Common,
    production: bool,
) -> Option<SecretString> {
    let Some(secret) = settings.secret("QUIRE_KEY_SECRET") else {
        if production {
            settings.problem(
                "QUIRE_KEY_SECRET is missing: production needs at least 32 characters of their own for auth alone, \
                 such as the output of `openssl rand -hex 32`",
            );
        }
        return None;
    };
    if let Err(error) = MasterSecret::new(secret.clone()) {
        settings.problem(format!("QUIRE_KEY_SECRET: {error}"));
    }
    if secret.expose_secret() == common.master_secret.expose_secret() {
        settings.problem("QUIRE_KEY_SECRET is the same as QUIRE_SECRET: only auth may know it");
    }
    if production && is_published(secret.expose_secret()) {
        settings.problem("QUIRE_KEY_SECRET is a published development value: set one of your own");
    }
    Some(secret)
}

fn read_sign_in_url(settings: &mut Settings) -> String {
    let public = settings.text("QUIRE_PUBLIC_URL", "http://localhost:8080");
    let default = format!("{}/sign-in", public.trim_end_matches('/'));
    let text = settings.text("QUIRE_SIGN_IN_URL", &default);
    let usable = |url: &Url| {
        let web = matches!(url.scheme(), "http" | "https");
        web && url.fragment().is_none() && url.as_str().len() <= MAX_SIGN_IN_URL
    };
    match Url::parse(&text) {
        // The URL's own text is ASCII, whatever was written.
        Ok(url) if usable(&url) => url.to_string(),
        _ => {
            settings.problem(
                "QUIRE_SIGN_IN_URL (or QUIRE_PUBLIC_URL) must be an http:// or https:// address without a `#` part",
            );
            default
        }
    }
}

fn read_admins(settings: &mut Settings) -> HashSet<String> {
    let mut admins = HashSet::new();
    for text in settings.list("QUIRE_ADMIN_EMAILS") {
        match Email::parse(&text) {
            Ok(email) => {
                admins.insert(email.as_str().to_owned());
            }
            Err(rule) => settings.problem(format!("QUIRE_ADMIN_EMAILS: `{text}`: {}", rule.message())),
        }
    }
    admins
}

fn read_sender(settings: &mut Settings) -> Mailbox {
    let text = settings.text("QUIRE_MAIL_FROM", DEFAULT_SENDER);
    text.parse().unwrap_or_else(|_| {
        settings.problem(format!("QUIRE_MAIL_FROM is `{text}`: write `Name <name@example.org>`"));
        DEFAULT_SENDER.parse().expect("the default is a mailbox")
    })
}

fn read_mail_route(settings: &mut Settings, common: &Common, production: bool) -> MailRoute {
    let Some(url) = settings.secret("QUIRE_SMTP_URL") else {
        if production {
            settings.problem(
                "QUIRE_SMTP_URL is missing: in production sign-in links leave by mail. Example: \
                 smtps://user:password@mail.example.org:465",
            );
        }
        return MailRoute::Folder(common.data_dir.join("mail"));
    };
    if let Err(error) = Smtp::check(&url) {
        settings.problem(format!("QUIRE_SMTP_URL: {error}"));
    }
    MailRoute::Smtp(url)
}
