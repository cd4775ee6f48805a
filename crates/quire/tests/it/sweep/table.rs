//! The outcome of a sweep as the table in the README.

use std::collections::BTreeSet;
use std::fmt::Write;

use quire_testkit::Backend;

use super::case::{Case, Outcome, Redis};
use super::points::{self, Place};

const HEAD: &str =
    "| killed at | journey, time | SQLite: Redis up, down, flushed | PostgreSQL: Redis up, down, flushed |
|---|---|---|---|
";

/// One line for each place: jobs/refunds in each of the surroundings where it was tried.
pub fn render(places: &[Place], results: &[(Case, Outcome)]) -> String {
    let held = results.iter().filter(|(_, outcome)| outcome.holds()).count();
    let (places_count, crashes) = (points::count(places), results.len());
    let mut table = format!(
        "{places_count} places, {crashes} crashes, {held} of them as if nothing had happened\n\n{HEAD}"
    );
    for place in places {
        let of_place = |case: &Case| (&case.point, case.journey) == (&place.point, place.journey);
        let here: Vec<&(Case, Outcome)> = results.iter().filter(|(case, _)| of_place(case)).collect();
        let times: BTreeSet<u64> = here.iter().map(|(case, _)| case.time).collect();
        let times: Vec<String> = times.iter().map(|time| format!("#{time}")).collect();
        let _ = write!(table, "| `{}` | {}, {} |", place.point, place.journey.name(), times.join(", "));
        for backend in [Backend::Sqlite, Backend::Postgres] {
            let cells = Redis::ALL.into_iter().map(|redis| {
                let tried = here.iter().filter(|(case, _)| (case.backend, case.redis) == (backend, redis));
                let cells: BTreeSet<String> = tried.map(|(_, outcome)| cell(outcome)).collect();
                Vec::from_iter(cells).join("; ")
            });
            let cells: Vec<String> = cells.filter(|cell| !cell.is_empty()).collect();
            let _ = write!(table, " {} |", cells.join(" "));
        }
        table.push('\n');
    }
    table
}

/// The same for every time if all is well.
fn cell(outcome: &Outcome) -> String {
    let broken = if outcome.holds() { "" } else { " BROKEN" };
    format!("{}/{}{broken}", outcome.jobs, outcome.refunds)
}
