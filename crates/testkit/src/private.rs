//! Private servers, started from binaries on this machine and ended with the test process.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

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
        let initdb = find("initdb").ok_or("nothing answers on port 5432 and `initdb` is not installed")?;
        let postgres =
            find("postgres").ok_or("nothing answers on port 5432 and `postgres` is not installed")?;
        let folder = folder()?;
        let data = folder.path().join("data");
        let prefix = unprivileged(folder.path())?;
        let made = Command::new("sh")
            .arg("-c")
            .arg(format!("{prefix} {} -A trust -U postgres -D {}", initdb.display(), data.display()))
            .stdout(Stdio::null())
            .status();
        if !made.is_ok_and(|status| status.success()) {
            return Err("`initdb` failed".to_owned());
        }
        let port = free_port()?;
        let command = format!(
            "{prefix} {} -D {} -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={}",
            postgres.display(),
            data.display(),
            folder.path().display(),
        );
        let server = Self::start(&command, folder, port)?;
        Ok((server, format!("postgres://postgres@127.0.0.1:{port}/postgres")))
    }

    /// A Redis that keeps nothing on disk.
    pub(crate) fn redis() -> Result<(Self, String), String> {
        let redis = find("redis-server").ok_or("`redis-server` is not installed")?;
        let folder = folder()?;
        let port = free_port()?;
        let command = format!("{} --port {port} --bind 127.0.0.1 --save '' --appendonly no", redis.display());
        let server = Self::start(&command, folder, port)?;
        Ok((server, format!("redis://127.0.0.1:{port}")))
    }

    fn start(command: &str, folder: TempDir, port: u16) -> Result<Self, String> {
        let watchdog = Command::new("sh")
            .arg("-c")
            .arg(format!("{command} >/dev/null 2>&1 & server=$!; cat >/dev/null; kill -TERM $server; wait"))
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| format!("`sh` cannot be started: {error}"))?;
        let server = Self { _watchdog: watchdog, _folder: folder };
        let deadline = Instant::now() + START;
        while !answers(port) {
            if Instant::now() > deadline {
                return Err(format!("a private server did not answer on port {port}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }
}

fn folder() -> Result<TempDir, String> {
    tempfile::tempdir().map_err(|error| format!("a temporary folder cannot be made: {error}"))
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no port is free: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
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
    Err("nothing answers on port 5432, and as root a private server needs a user `postgres`".to_owned())
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
