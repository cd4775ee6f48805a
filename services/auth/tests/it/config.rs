//! The settings: defaults, and mistakes that are told before anything starts.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use quire_auth::{Config, MailRoute};
use quire_serve::settings::{Common, Settings};
use secrecy::SecretString;

use crate::harness::{SECRET, seconds};

fn read(values: &[(&str, &str)], secret: &str) -> (Config, Vec<String>) {
    let pairs = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut settings = Settings::from_map(pairs.collect::<HashMap<_, _>>());
    let common = Common {
        database_url: "sqlite:///tmp/unused.db".to_owned(),
        data_dir: PathBuf::from("/data"),
        migrate: true,
        master_secret: SecretString::from(secret.to_owned()),
        auth_url: String::new(),
        document_url: String::new(),
        payment_url: String::new(),
        job_url: String::new(),
    };
    let config = Config::read(&mut settings, &common);
    let problems = settings.finish().err().map(|error| error.problems).unwrap_or_default();
    (config, problems)
}

#[test]
fn without_settings_the_defaults_hold() {
    let (config, problems) = read(&[], SECRET);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(config.link_lifetime, seconds(900));
    assert_eq!(config.access_lifetime, seconds(900));
    assert_eq!(config.sessions.idle, seconds(30 * 86_400));
    assert_eq!(config.sessions.absolute, seconds(90 * 86_400));
    assert_eq!(config.sessions.grace, seconds(10));
    assert_eq!(config.sessions.retry, seconds(86_400));
    assert!(config.key_secret.is_none());
    assert!(matches!(config.mail, MailRoute::Folder(folder) if folder.ends_with("mail")));
}

#[test]
fn production_needs_a_mail_server() {
    let (_, problems) = read(&[("QUIRE_ENV", "production")], SECRET);
    assert!(problems.iter().any(|problem| problem.contains("QUIRE_SMTP_URL")), "{problems:?}");
    let smtp = ("QUIRE_SMTP_URL", "smtps://user:pass@mail.example.org");
    let key = ("QUIRE_KEY_SECRET", "another secret, of auth alone, 32 characters");
    assert!(read(&[("QUIRE_ENV", "production"), smtp, key], SECRET).1.is_empty());
}

#[test]
fn production_needs_a_secret_for_keys_that_is_no_other() {
    let smtp = ("QUIRE_SMTP_URL", "smtps://user:pass@mail.example.org");
    for secret in ["", "short", SECRET, "replace-me replace-me replace-me replace-me"] {
        let values = [("QUIRE_ENV", "production"), smtp, ("QUIRE_KEY_SECRET", secret)];
        let (_, problems) = read(&values, SECRET);
        assert!(problems.iter().any(|problem| problem.contains("QUIRE_KEY_SECRET")), "{problems:?}");
        assert!(secret.is_empty() || !problems.concat().contains(secret), "{problems:?}");
    }
}

#[test]
fn links_are_not_shown_in_production() {
    let smtp = ("QUIRE_SMTP_URL", "smtp://localhost:1025");
    for (environment, shown) in [("development", true), ("production", false)] {
        let (mut config, _) = read(&[("QUIRE_ENV", environment), smtp], SECRET);
        let console: quire_auth::Console = Arc::new(|_: &str| {});
        config.show_links(console.clone());
        assert_eq!(Arc::strong_count(&console) == 2, shown, "{environment}");
    }
}

#[test]
fn every_mistake_is_told_at_once_and_no_secret_with_it() {
    let values = [
        ("QUIRE_MAIL_LIMIT", "many"),
        ("QUIRE_SIGN_IN_URL", "javascript:alert(1)"),
        ("QUIRE_ADMIN_EMAILS", "root@example.org, nobody"),
        ("QUIRE_MAIL_FROM", "not a mailbox"),
        ("QUIRE_SMTP_URL", "ftp://user:hunter2@host"),
        ("QUIRE_MAGIC_LINK_SECONDS", "soon"),
    ];
    let (_, problems) = read(&values, "short");
    for (name, _) in values {
        assert!(problems.iter().any(|problem| problem.contains(name)), "{name}: {problems:?}");
    }
    assert!(problems.iter().any(|problem| problem.contains("QUIRE_SECRET")));
    assert!(!problems.concat().contains("hunter2"));
}
