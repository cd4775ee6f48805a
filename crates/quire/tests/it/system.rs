//! A whole Quire of its own for one test.

use std::collections::HashMap;
use std::path::PathBuf;

use quire::embedded::{Embedded, Options};
use quire::installation::{Context, Installation};
use quire_auth::operator::{Operator, OperatorConfig};
use quire_clock::World;
use quire_serve::settings::Settings;
use quire_testkit::{Backend, TestDatabase};
use tempfile::TempDir;

use crate::books::Books;
use crate::customer::{Client, Customer};

/// Of the webhooks; tests sign events with it.
pub const WEBHOOK_SECRET: &str = "whsec_of_a_test_that_signs_events";
/// Has the admin role.
pub const OPERATOR: &str = "operator@example.org";

/// A running Quire. Stopping it is the end of a test that passed; a test that failed just drops it.
pub struct System {
    pub embedded: Embedded,
    pub client: Client,
    settings: HashMap<String, String>,
    // After the process that uses them.
    _database: Option<TestDatabase>,
    _folder: TempDir,
}

impl System {
    /// With limits that do not get in the way, and `settings` on top.
    pub async fn start(backend: Backend, settings: &[(&str, &str)]) -> Self {
        Self::start_in(backend, settings, World::system()).await
    }

    pub async fn start_in(backend: Backend, settings: &[(&str, &str)], world: World) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut all = relaxed();
        let database = match backend {
            // The default of an installation without any setting.
            Backend::Sqlite => None,
            Backend::Postgres => {
                let database = backend.create().await;
                all.insert("DATABASE_URL".to_owned(), database.url().to_owned());
                if let Some(redis) = quire_testkit::redis() {
                    all.insert("REDIS_URL".to_owned(), redis.to_owned());
                }
                Some(database)
            }
        };
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut kept = all.clone();
        kept.insert("QUIRE_DATA_DIR".to_owned(), folder.path().display().to_string());
        let options = Options {
            data_dir: folder.path().to_owned(),
            settings: all,
            free_ports: true,
            child_program: Some(program()),
        };
        let embedded = Embedded::start(options, world).await.expect("Quire starts");
        embedded.ready().await.expect("every service is ready");
        let client = Client::new(&embedded.urls.gateway, embedded.mail_dir());
        Self { embedded, client, settings: kept, _database: database, _folder: folder }
    }

    pub async fn sign_in(&self, email: &str) -> Customer {
        self.client.sign_in(email).await
    }

    /// What `quire keys` works with, on this system's database.
    pub async fn operator(&self) -> Operator {
        let mut settings = Settings::from_map(self.settings.clone());
        let installation = Installation::read(&mut settings, &World::system());
        let common = installation.common(&mut settings, Context::Auth);
        let config = OperatorConfig::read(&mut settings, &common);
        settings.finish().unwrap();
        Operator::open(&config, World::system()).await.unwrap()
    }

    /// The program with this system's settings, for the commands of its operator.
    pub fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(program());
        let urls = &self.embedded.urls;
        command.envs(&self.settings);
        command.env("QUIRE_PAYMENT_URL", &urls.payment).env("QUIRE_JOB_URL", &urls.job);
        command
    }

    pub async fn books(&self) -> Books {
        match self.settings.get("DATABASE_URL") {
            None => Books::in_folder(self._folder.path()).await,
            Some(url) => Books::at(url).await,
        }
    }

    pub async fn stop(self) {
        self.embedded.stop().await;
    }
}

/// The binary, which also reads source files and typesets.
pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_quire"))
}

/// The settings of every test that is not about limits.
pub fn relaxed() -> HashMap<String, String> {
    let settings = [
        ("QUIRE_LIMIT_MAGIC_LINK", "1000/minute"),
        ("QUIRE_LIMIT_VERIFY", "1000/minute"),
        ("QUIRE_LIMIT_REFRESH", "1000/minute"),
        ("QUIRE_LIMIT_CHECKOUT", "1000/minute"),
        ("QUIRE_LIMIT_API", "100000/minute"),
        ("QUIRE_MAIL_LIMIT", "1000/hour"),
        // Many systems share one PostgreSQL here.
        ("QUIRE_DATABASE_CONNECTIONS", "4"),
        ("QUIRE_STRIPE_WEBHOOK_SECRETS", WEBHOOK_SECRET),
        ("QUIRE_ADMIN_EMAILS", OPERATOR),
        ("QUIRE_CONSOLE_LINKS", "false"),
    ];
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
