//! The service in a process of its own, which can be killed, frozen and asked to end as processes are, or dies by itself
//! at a named place.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use quire_background_job::{Config, Parts, Press};
use quire_clock::{FailPoints, World};
use quire_identity::Gatekeeper;
use quire_manuscript::Book;
use quire_serve::telemetry::{self, TelemetryConfig};
use quire_testkit::Process;
use quire_typeset::{Typeset, TypesetError};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::press::FixedPress;
use crate::stage::{Directions, Service, Stage};

/// What the process that plays the service must know.
const SERVICE: &str = "QUIRE_TEST_JOB_SERVICE";
/// Waits end here; nothing is measured with it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How the process differs from the service of [`Directions::config`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    pub workers: usize,
    pub jobs_per_user: u32,
    pub lease: Duration,
    pub drain: Duration,
    /// It is the only process on the database.
    pub alone: bool,
    /// Pages of whatever is typeset.
    pub pages: u32,
    /// The first book is never printed.
    pub first_print_hangs: bool,
    /// Where the process ends by itself, and how.
    pub halt: Option<(String, Halt)>,
}

/// How a process ends at a place.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Halt {
    /// As by a power cut.
    Dies,
    /// It stands still until it is told to go on.
    Freezes,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 2,
            jobs_per_user: 2,
            lease: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            alone: true,
            pages: 6,
            first_print_hangs: false,
            halt: None,
        }
    }
}

impl Setup {
    fn apply(&self, config: &mut Config) {
        config.concurrency = self.workers;
        config.jobs_per_user = self.jobs_per_user;
        config.lease = self.lease;
        config.drain = self.drain;
        config.exclusive_data_dir = self.alone;
    }

    /// The same service inside this process.
    pub async fn start_here(&self, stage: &Stage) -> Service {
        stage.start_with(World::system(), |config| self.apply(config)).await
    }
}

pub struct Elsewhere {
    pub process: Process,
    pub service: Service,
    log: PathBuf,
    _folder: TempDir,
}

impl Elsewhere {
    /// Starts it, and waits until it listens.
    pub async fn start(stage: &Stage, setup: &Setup) -> Self {
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let told = Told {
            directions: stage.directions(),
            setup: setup.clone(),
            door: door.local_addr().unwrap().to_string(),
        };
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let process = Process::start(
            &std::env::current_exe().unwrap(),
            &["--exact", "elsewhere::acts_as_the_service_when_asked_to", "--nocapture"],
            [(SERVICE, serde_json::to_string(&told).unwrap().as_str())],
            &log,
        );
        let mut url = String::new();
        let listens = async {
            let (mut stream, _) = door.accept().await.unwrap();
            stream.read_to_string(&mut url).await.unwrap();
        };
        let listens = tokio::time::timeout(PATIENCE, listens).await;
        listens.unwrap_or_else(|_| panic!("it does not start: {}", process.said()));
        let service = Service::elsewhere(&url, stage.keys.clone());
        Self { process, service, log, _folder: folder }
    }

    /// Waits until it has ended, and says how.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let ended = async {
            loop {
                if let Some(status) = self.process.ended() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        ended.unwrap_or_else(|_| panic!("it does not end: {}", self.log()))
    }

    /// Waits until its log says this.
    pub async fn says(&self, words: &str) {
        let said = async {
            while !self.log().contains(words) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let said = tokio::time::timeout(PATIENCE, said).await;
        said.unwrap_or_else(|_| panic!("it does not say {words:?}: {}", self.log()));
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

#[derive(Serialize, Deserialize)]
struct Told {
    directions: Directions,
    setup: Setup,
    /// Where it says its address.
    door: String,
}

struct Halts {
    place: String,
    how: Halt,
}

impl FailPoints for Halts {
    fn reach(&self, point: &'static str) {
        match self.how {
            _ if point != self.place => {}
            Halt::Dies => std::process::abort(),
            Halt::Freezes => kill_process(getpid(), Signal::STOP).unwrap(),
        }
    }
}

/// Prints nothing, quickly; or never, the first time.
struct HangingPress {
    hangs: AtomicBool,
    press: FixedPress,
}

#[async_trait]
impl Press for HangingPress {
    async fn print(&self, book: &Book, pages: u32) -> Result<Typeset, TypesetError> {
        if self.hangs.swap(false, Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.press.print(book, pages).await
    }
}

/// Not a test of its own: [`Elsewhere::start`] runs it, and only it, in a process of its own.
#[test]
fn acts_as_the_service_when_asked_to() {
    let Ok(told) = std::env::var(SERVICE) else {
        return;
    };
    let Told { directions, setup, door } = serde_json::from_str(&told).unwrap();
    let logs = TelemetryConfig {
        filter: "info".to_owned(),
        json: false,
        otlp_endpoint: None,
        service_name: "job".to_owned(),
    };
    let _logs = telemetry::init(&logs).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut config = directions.config();
        setup.apply(&mut config);
        let mut world = World::system();
        if let Some((place, how)) = setup.halt {
            world = world.with_fail_points(Arc::new(Halts { place, how }));
        }
        let gatekeeper = Gatekeeper::new(world.clone(), Arc::new(directions.keys()), &config.master);
        let press = HangingPress {
            hangs: AtomicBool::new(setup.first_print_hangs),
            press: FixedPress::pages(setup.pages),
        };
        let parts = Parts { gatekeeper, press: Arc::new(press) };
        let shutdown = CancellationToken::new();
        let asked = shutdown.clone();
        let mut terminated = signal(SignalKind::terminate()).unwrap();
        tokio::spawn(async move {
            terminated.recv().await;
            asked.cancel();
            tracing::info!("asked to end");
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        TcpStream::connect(door).await.unwrap().write_all(url.as_bytes()).await.unwrap();
        quire_background_job::serve_with(config, parts, world, listener, shutdown).await.unwrap();
    });
}
