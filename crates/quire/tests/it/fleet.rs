//! The services as processes of their own, several of one kind if a test wants, each to be killed, paused and started
//! again by itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use quire::installation::Context;
use quire_testkit::{Backend, Process, TestDatabase};
use tempfile::TempDir;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::answer::Answer;
use crate::books::Books;
use crate::customer::Client;
use crate::system;
use crate::wait::eventually;

const SECRET: &str = "the-master-secret-of-a-fleet-0123456789";

/// What all processes of an installation share. Dropping it drops its database.
pub struct Fleet {
    settings: HashMap<String, String>,
    database: Option<TestDatabase>,
    folder: TempDir,
}

/// One process, which runs or not. Dropping it kills it.
pub struct Member {
    pub role: &'static str,
    /// `host:port`; the same after each start.
    pub address: String,
    settings: HashMap<String, String>,
    log: PathBuf,
    process: Option<Process>,
}

impl Fleet {
    pub async fn new(backend: Backend, provider_url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = match backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some(backend.create().await),
        };
        let mut settings = system::relaxed();
        let mut set = |name: &str, value: &str| settings.insert(name.to_owned(), value.to_owned());
        set("QUIRE_SECRET", SECRET);
        set("QUIRE_DATA_DIR", folder.path().to_str().unwrap());
        set("QUIRE_STRIPE_URL", provider_url);
        set("QUIRE_ACCESS_TOKEN_SECONDS", "7200");
        // The shortest there is: whoever is away longer has lost its job.
        set("QUIRE_JOB_LEASE_SECONDS", "2");
        if let Some(database) = &database {
            set("DATABASE_URL", database.url());
        }
        Self { settings, database, folder }
    }

    /// A process of a role such as `payment`, on a free port, not started. It knows the others by `settings`.
    pub fn member(&self, role: &'static str, settings: &[(&str, &str)]) -> Member {
        // The others must know it before it is started, and it has the same after each start.
        let address = format!("127.0.0.1:{}", quire_testkit::free_port());
        let mut all = self.settings.clone();
        all.insert("QUIRE_LISTEN".to_owned(), address.clone());
        let log = self.folder.path().join(format!("{role}-{}.log", address.rsplit(':').next().unwrap()));
        Member { role, address, settings: all, log, process: None }.knowing(settings)
    }

    pub async fn books(&self) -> Books {
        match &self.database {
            None => Books::in_folder(self.folder.path()).await,
            Some(database) => Books::at(database.url()).await,
        }
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The address of the database of one context.
    pub fn database_url(&self, context: Context) -> String {
        match &self.database {
            None => format!("sqlite://{}/{}.db", self.folder.path().display(), context.name()),
            Some(database) => database.url().to_owned(),
        }
    }

    /// A client of a gateway of this installation.
    pub fn client(&self, gateway: &Member) -> Client {
        Client::new(&gateway.url(), self.folder.path().join("mail"))
    }
}

impl Member {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same with more settings, for the next start.
    pub fn knowing(mut self, settings: &[(&str, &str)]) -> Self {
        self.settings.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self
    }

    /// Starts it, and waits until it serves.
    pub async fn start(&mut self) {
        self.launch();
        self.serves().await;
    }

    /// Starts it and waits for nothing.
    pub fn launch(&mut self) {
        let environment = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.process = Some(Process::start(&system::program(), &[self.role], environment, &self.log));
    }

    /// Waits until it answers that it can work.
    pub async fn serves(&mut self) {
        let (url, role) = (self.url(), self.role);
        let process = self.process.as_mut().expect("it was started");
        let ready = eventually(role, || {
            assert!(process.ended().is_none(), "{role} ended\n{}", process.said());
            let url = url.clone();
            async move { ready(role, &url).await.then_some(()) }
        });
        ready.await;
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.process.as_ref().expect("it runs").pause();
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.as_ref().expect("it runs").resume();
    }

    /// Everything that it has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

async fn ready(role: &str, url: &str) -> bool {
    if role == "gateway" {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        return Answer::heard(http.get(format!("{url}/readyz")))
            .await
            .is_some_and(|answer| answer.status == 200);
    }
    let channel = quire_serve::client::channel(url).unwrap();
    let asked = HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await;
    asked.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
}
