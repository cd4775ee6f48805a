//! Private servers, started from binaries on this machine and ended with the test process.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::free_port;

/// So long may a server take to answer.
const START: Duration = Duration::from_secs(30);

/// A running server. It ends when the test process ends, however that happens: a shell waits for the end of
/// its standard input, which this process holds open, and then ends the server.
pub(crate) struct PrivateServer {
    _watchdog: Child,
    _folder: TempDir,
}

/// Whether something listens on that port of this machine.
pub(crate) fn answers(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok()
}

impl PrivateServer {
    /// A PostgreSQL with an empty cluster in a temporary folder.
    pub(crate) fn postgres() -> Result<(Self, String), String> {
        let cluster = Cluster::new().map_err(|why| format!("nothing answers on port 5432 and {why}"))?;
        let server = Self { _watchdog: cluster.start()?, _folder: cluster.folder };
        Ok((server, address(cluster.port)))
    }

    /// A Redis that keeps nothing on disk.
    pub(crate) fn redis() -> Result<(Self, String), String> {
        let redis = find("redis-server").ok_or("`redis-server` is not installed")?;
        let folder = folder()?;
        let port = free_port();
        let command = format!("{} --port {port} --bind 127.0.0.1 --save '' --appendonly no", redis.display());
        let server = Self { _watchdog: start(&command, port)?, _folder: folder };
        Ok((server, format!("redis://127.0.0.1:{port}")))
    }
}

/// A PostgreSQL cluster in a temporary folder.
pub(crate) struct Cluster {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    /// What a command must begin with, so that it does not run as root.
    prefix: String,
    postgres: PathBuf,
    pg_ctl: PathBuf,
}

impl Cluster {
    /// Makes one; no server runs on it yet.
    pub(crate) fn new() -> Result<Self, String> {
        let program = |name| find(name).ok_or_else(|| format!("`{name}` is not installed"));
        let (initdb, postgres, pg_ctl) = (program("initdb")?, program("postgres")?, program("pg_ctl")?);
        let folder = folder()?;
        let prefix = unprivileged(folder.path())?;
        let cluster = Self { folder, port: free_port(), prefix, postgres, pg_ctl };
        cluster.run(&format!("{} -A trust -U postgres -D {}", initdb.display(), cluster.data()))?;
        Ok(cluster)
    }

    /// Starts the server, and waits until it answers.
    pub(crate) fn start(&self) -> Result<Child, String> {
        let command = format!(
            "{} {} -D {} -p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={}",
            self.prefix,
            self.postgres.display(),
            self.data(),
            self.port,
            self.folder.path().display(),
        );
        start(&command, self.port)
    }

    /// Ends the server and every connection, and waits until it is gone.
    pub(crate) fn stop(&self) -> Result<(), String> {
        self.run(&format!("{} -D {} -m fast -w stop", self.pg_ctl.display(), self.data()))
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn run(&self, command: &str) -> Result<(), String> {
        let ran = Command::new("sh")
            .arg("-c")
            .arg(format!("{} {command}", self.prefix))
            .stdout(Stdio::null())
            .status();
        match ran {
            Ok(status) if status.success() => Ok(()),
            _ => Err(format!("`{command}` failed")),
        }
    }
}

/// The database that every cluster has.
pub(crate) fn address(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}

/// Starts a server under its watchdog, and waits until it answers.
fn start(command: &str, port: u16) -> Result<Child, String> {
    let watchdog = Command::new("sh")
        .arg("-c")
        .arg(format!("{command} >/dev/null 2>&1 & server=$!; cat >/dev/null; kill -TERM $server; wait"))
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`sh` cannot be started: {error}"))?;
    let deadline = Instant::now() + START;
    while !answers(port) {
        if Instant::now() > deadline {
            return Err(format!("a private server did not answer on port {port}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(watchdog)
}

fn folder() -> Result<TempDir, String> {
    tempfile::tempdir().map_err(|error| format!("a temporary folder cannot be made: {error}"))
}

/// PostgreSQL refuses to run as root: then it runs as the user `postgres`, who must own the folder.
fn unprivileged(folder: &Path) -> Result<String, String> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    if !root {
        return Ok(String::new());
    }
    let owned = Command::new("chown").arg("postgres").arg(folder).stderr(Stdio::null()).status();
    if owned.is_ok_and(|status| status.success()) {
        return Ok("runuser -u postgres --".to_owned());
    }
    Err("as root a private server needs a user `postgres`".to_owned())
}

/// A program on PATH, or where Debian keeps PostgreSQL's.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders.into_iter().map(|folder| folder.join(program)).find(|file| file.is_file())
}
