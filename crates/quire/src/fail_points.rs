//! Named places between two durable steps, where tests end the process: `QUIRE_FAIL_POINT=job.start.committed#2=kill`.
//!
//! Without these settings nothing of this is there: the world is then given on as it was.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use quire_clock::{Clock, FailPoints, World};
use quire_serve::settings::Settings;
use rustix::process::{Signal, getpid, kill_process};

/// `<name>[#n]=kill|panic`: what happens when the place is reached the n-th time, the first unless it is said.
const POINT: &str = "QUIRE_FAIL_POINT";
/// A file that gets one line for each time that a place is reached: `<microseconds since 1970> <name>#<n>`.
const LOG: &str = "QUIRE_FAIL_POINT_LOG";

/// The world with the fail point that is set. Mistakes are noted in the settings, and then nothing is installed.
pub(crate) fn install(settings: &mut Settings, world: World) -> World {
    let (point, log) = (settings.optional(POINT), settings.optional(LOG));
    if point.is_none() && log.is_none() {
        return world;
    }
    if settings.production() {
        settings.problem(format!("{POINT} and {LOG} are for tests of crashes: refused in production"));
        return world;
    }
    let trap = match point.as_deref().map(Trap::parse) {
        None => None,
        Some(Some(trap)) => Some(trap),
        Some(None) => {
            let text = point.unwrap_or_default();
            settings.problem(format!(
                "{POINT} is `{text}`: accepted is a name such as job.start.committed, #n for the n-th time, \
                 and =kill or =panic"
            ));
            return world;
        }
    };
    let log = match log.map(|path| File::options().create(true).append(true).open(path)).transpose() {
        Ok(log) => log,
        Err(error) => {
            settings.problem(format!("{LOG} cannot be written: {error}"));
            return world;
        }
    };
    let points = Points { clock: world.clock.clone(), trap, log, counts: Mutex::default() };
    world.with_fail_points(Arc::new(points))
}

/// Counts what is reached, and ends the process where it shall.
struct Points {
    clock: Arc<dyn Clock>,
    trap: Option<Trap>,
    log: Option<File>,
    counts: Mutex<HashMap<&'static str, u64>>,
}

/// Where and how the process ends.
#[derive(Debug, PartialEq, Eq)]
struct Trap {
    point: String,
    /// At which time, counted from 1.
    time: u64,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Kill,
    Panic,
}

impl Trap {
    fn parse(text: &str) -> Option<Self> {
        let (place, end) = text.rsplit_once('=')?;
        let end = match end {
            "kill" => End::Kill,
            "panic" => End::Panic,
            _ => return None,
        };
        let (point, time) = match place.split_once('#') {
            None => (place, 1),
            Some((point, time)) => (point, time.parse().ok().filter(|time| *time > 0)?),
        };
        let part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let named = point.contains('.') && point.split('.').all(part);
        named.then(|| Self { point: point.to_owned(), time, end })
    }
}

impl FailPoints for Points {
    fn reach(&self, point: &'static str) {
        let count = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(point).or_insert(0);
            *count += 1;
            *count
        };
        if let Some(mut log) = self.log.as_ref() {
            let line = format!("{} {point}#{count}\n", self.clock.now().unix_micros());
            // In one write, so that lines of several threads do not mix.
            if let Err(error) = log.write_all(line.as_bytes()) {
                tracing::error!(point, %error, "a fail point cannot be logged");
            }
        }
        match &self.trap {
            Some(trap) if trap.point == point && trap.time == count => match trap.end {
                End::Kill => kill(),
                End::Panic => panic!("the fail point {point} is reached"),
            },
            _ => {}
        }
    }
}

/// Ends this process as a failing machine does: nothing is flushed, closed or said.
fn kill() -> ! {
    // A process may always signal itself.
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        // The signal comes at once, but perhaps to another thread first.
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn installed(values: &[(&str, &str)]) -> (World, Vec<String>) {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut settings = Settings::from_map(values.collect());
        let world = install(&mut settings, World::system());
        (world, settings.finish().err().map(|error| error.problems).unwrap_or_default())
    }

    #[test]
    fn a_point_has_a_name_a_time_and_an_end() {
        let trap = |point: &str, time, end| Some(Trap { point: point.to_owned(), time, end });
        assert_eq!(Trap::parse("job.start.committed=kill"), trap("job.start.committed", 1, End::Kill));
        assert_eq!(Trap::parse("payment.relay.sent#12=panic"), trap("payment.relay.sent", 12, End::Panic));
    }

    #[test]
    fn anything_else_is_a_problem_that_says_what_is_accepted() {
        for text in [
            "job.start.committed",
            "job.start.committed=stop",
            "job.start.committed#0=kill",
            "job.start.committed#two=kill",
            "job.start.committed#=kill",
            "job..committed=kill",
            "job=kill",
            "Job.Start=kill",
            "=kill",
        ] {
            let (_, problems) = installed(&[(POINT, text)]);
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert!(problems[0].contains(text) && problems[0].contains("#n"), "{problems:?}");
        }
        let (_, problems) = installed(&[(LOG, "/nowhere/at/all")]);
        assert!(problems.len() == 1 && problems[0].starts_with(LOG), "{problems:?}");
    }

    #[test]
    fn production_refuses_both() {
        let production = ("QUIRE_ENV", "production");
        for setting in [(POINT, "job.start.committed=kill"), (LOG, "/dev/null")] {
            let (_, problems) = installed(&[production, setting]);
            assert!(problems.len() == 1 && problems[0].contains("production"), "{problems:?}");
        }
        assert_eq!(installed(&[production]).1, Vec::<String>::new());
    }

    #[test]
    fn every_time_is_logged_and_only_the_chosen_one_ends() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("points");
        let values = [(POINT, "job.start.committed#2=panic"), (LOG, log.to_str().unwrap())];
        let (world, problems) = installed(&values);
        assert_eq!(problems, Vec::<String>::new());
        let reach = |point| catch_unwind(AssertUnwindSafe(|| world.reach(point))).is_ok();
        assert!(reach("job.start.committed"));
        assert!(reach("job.start.inserted"));
        assert!(!reach("job.start.committed"), "the second time is the end");
        assert!(reach("job.start.committed"));
        let log = std::fs::read_to_string(log).unwrap();
        let points: Vec<&str> = log.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        let committed = |time| format!("job.start.committed#{time}");
        assert_eq!(points, [&*committed(1), "job.start.inserted#1", &committed(2), &committed(3)]);
        assert!(log.lines().all(|line| line.split_once(' ').unwrap().0.parse::<i64>().unwrap() > 0));
    }
}
