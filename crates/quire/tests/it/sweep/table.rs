//! The outcome of a sweep as a table in Markdown.

use std::fmt::Write;

use quire_testkit::Backend;

use super::case::{Case, Outcome, Redis};
use super::points::{self, Place};

const SURROUNDINGS: [(Backend, Redis, &str); 6] = [
    (Backend::Sqlite, Redis::Up, "SQLite, Redis up"),
    (Backend::Sqlite, Redis::Down, "SQLite, Redis down"),
    (Backend::Sqlite, Redis::Flushed, "SQLite, Redis flushed"),
    (Backend::Postgres, Redis::Up, "PostgreSQL, Redis up"),
    (Backend::Postgres, Redis::Down, "PostgreSQL, Redis down"),
    (Backend::Postgres, Redis::Flushed, "PostgreSQL, Redis flushed"),
];

/// One line for each place: jobs and refunds in each of the surroundings where it was tried.
pub fn render(places: &[Place], results: &[(Case, Outcome)]) -> String {
    let held = results.iter().filter(|(_, outcome)| outcome.holds()).count();
    let mut table = format!(
        "{} places, {} crashes, {held} of them as if nothing had happened\n\n| killed at | journey |",
        points::count(places),
        results.len()
    );
    for (_, _, name) in SURROUNDINGS {
        let _ = write!(table, " {name} |");
    }
    table.push_str("\n|---|---|---|---|---|---|---|---|\n");
    for place in places {
        let _ = write!(table, "| `{}` | {} |", place.point, place.journey.name());
        for (backend, redis, _) in SURROUNDINGS {
            let here = |case: &Case| {
                (&case.point, case.journey, case.backend, case.redis)
                    == (&place.point, place.journey, backend, redis)
            };
            let mut cells: Vec<(u64, String)> = results
                .iter()
                .filter(|(case, _)| here(case))
                .map(|(case, outcome)| (case.time, cell(case.time, outcome)))
                .collect();
            cells.sort();
            let cells: Vec<String> = cells.into_iter().map(|(_, cell)| cell).collect();
            let _ = write!(table, " {} |", cells.join("; "));
        }
        table.push('\n');
    }
    table
}

fn cell(time: u64, outcome: &Outcome) -> String {
    let at = if time == 1 { String::new() } else { format!("#{time}: ") };
    let verdict = if outcome.holds() { "ok" } else { "BROKEN" };
    format!("{at}jobs={}, refunds={}, {verdict}", outcome.jobs, outcome.refunds)
}
