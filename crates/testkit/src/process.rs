//! Programs under test as processes of their own, which a test may kill, stop, pause and let go on.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};

/// Lines that [`Process::said`] gives.
const LAST_LINES: usize = 30;

/// A running program. Dropping it kills it.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose environment is PATH and `environment`, nothing else. What it says is added to `log`.
    ///
    /// # Panics
    /// The log cannot be written, or the program not be started.
    pub fn start<'a>(
        program: &Path,
        arguments: &[&str],
        environment: impl IntoIterator<Item = (&'a str, &'a str)>,
        log: &Path,
    ) -> Self {
        let output = File::options().create(true).append(true).open(log).expect("the log can be written");
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(environment)
            .stdout(output.try_clone().expect("a file can be opened twice"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()));
        Self { child, log: log.to_owned() }
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of this process can be waited for")
    }

    /// SIGKILL: it cleans nothing up. Returns once it is gone.
    pub fn kill(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGSTOP: it stands still wherever it is, until [`Self::resume`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on as if no time had passed.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM: it is asked to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// The end of its log, for messages of failed tests.
    pub fn said(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    fn signal(&self, signal: Signal) {
        // As long as the child was not waited for, its number is its own, even if it has ended.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::time::Duration;

    use super::*;

    /// Says `tick` for ever.
    fn ticking(folder: &Path) -> Process {
        let script = "while :; do echo $WORD; sleep 0.01; done";
        Process::start(Path::new("/bin/sh"), &["-c", script], [("WORD", "tick")], &folder.join("log"))
    }

    fn ticks(process: &Process) -> u64 {
        std::fs::metadata(&process.log).unwrap().len()
    }

    async fn until(mut done: impl FnMut() -> bool) {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The third field of /proc/<pid>/stat: `T` while it is stopped.
    fn state(process: &Process) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.child.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    }

    #[tokio::test]
    async fn a_process_stands_still_goes_on_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = ticking(folder.path());
        until(|| ticks(&process) > 0).await;
        process.pause();
        until(|| state(&process) == 'T').await;
        process.resume();
        let before = ticks(&process);
        until(|| ticks(&process) > before).await;
        assert!(process.said().ends_with("tick"), "{}", process.said());
        assert_eq!(process.ended(), None);
        process.kill();
        assert_eq!(process.ended().unwrap().signal(), Some(9));
    }
}
