//! The places where the process can be killed, as they are found by walking, and the cases that follow from them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use quire_testkit::Backend;

use super::case::{Case, Redis, walk};
use super::journey::Journey;
use super::stage::Stage;
use crate::model::Model;

/// What only an operator comes by: the job service's own tests kill it there.
const ELSEWHERE: &str = "job.retry.";

/// A named place, and a journey that reaches it.
#[derive(Debug, Clone)]
pub struct Place {
    pub point: String,
    pub journey: Journey,
    /// How often the journey reaches it.
    pub times: u64,
    /// Whether an earlier journey reaches it too, but not so often: then only what comes on top is new.
    pub known: bool,
}

impl Place {
    /// What one walk has logged, by name.
    pub fn read(log: &str, journey: Journey) -> Vec<Self> {
        let mut times: BTreeMap<&str, u64> = BTreeMap::new();
        for line in log.lines() {
            let (point, time) = line.split_once(' ').unwrap().1.split_once('#').unwrap();
            let most = times.entry(point).or_default();
            *most = time.parse::<u64>().unwrap().max(*most);
        }
        let place =
            |(point, times): (&str, u64)| Self { point: point.to_owned(), journey, times, known: false };
        times.into_iter().map(place).collect()
    }
}

/// Walks every journey once, undisturbed. Each place stands with the first journey that reaches it, and again with a
/// later one that reaches it more often: it does something there that the others do not, such as to refund.
pub async fn reached(stage: &Stage, model: &Model) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for journey in Journey::ALL {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("points");
        let setting = [("QUIRE_FAIL_POINT_LOG", log.to_str().unwrap())];
        let outcome = walk(stage, model, journey, (Redis::Down, 0), &setting).await;
        assert_eq!(outcome.broken, Vec::<String>::new(), "{journey:?} without any crash");
        let found = Place::read(&std::fs::read_to_string(&log).unwrap(), journey);
        let ours =
            |place: &Place| ["payment.", "job."].iter().any(|service| place.point.starts_with(service));
        for place in found.into_iter().filter(ours) {
            let most =
                places.iter().filter(|known| known.point == place.point).map(|known| known.times).max();
            if most.is_none_or(|most| most < place.times) {
                places.push(Place { known: most.is_some(), ..place });
            }
        }
    }
    // Stable: the journeys of a place stay in their order.
    places.sort_by(|a, b| a.point.cmp(&b.point));
    places
}

/// Every name in the sources must have been reached: a place that no journey reaches is a place that is not tested.
pub fn assert_complete(places: &[Place]) {
    let reached: BTreeSet<&str> = places.iter().map(|place| place.point.as_str()).collect();
    let written = written();
    let here = written.iter().filter(|point| !point.starts_with(ELSEWHERE));
    let missed: Vec<&String> = here.filter(|point| !reached.contains(point.as_str())).collect();
    assert!(missed.is_empty(), "no journey reaches {missed:?}");
    assert!(!written.is_empty());
}

/// The names in the sources of the two services.
fn written() -> BTreeSet<String> {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services");
    let mut folders: Vec<PathBuf> =
        ["payment/src", "background-job/src"].map(|folder| services.join(folder)).into();
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let source = std::fs::read_to_string(&path).unwrap();
                names.extend(
                    source.split('"').skip(1).step_by(2).filter(|text| is_name(text)).map(str::to_owned),
                );
            }
        }
    }
    names
}

/// `payment.relay.sent`: a service and at least two more words.
fn is_name(text: &str) -> bool {
    let words: Vec<&str> = text.split('.').collect();
    let word =
        |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    words.len() >= 3 && ["payment", "job"].contains(&words[0]) && words.iter().all(word)
}

/// Each place once on each database, where Redis differs from place to place. On the second one it is the last time that
/// the last of its journeys reaches it.
pub fn some_cases(places: &[Place]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (number, journeys) in places.chunk_by(|a, b| a.point == b.point).enumerate() {
        let (Some(first), Some(last)) = (journeys.first(), journeys.last()) else { continue };
        let other = if number % 2 == 0 { Redis::Up } else { Redis::Flushed };
        cases.push(case(first, 1, Backend::Sqlite, Redis::Down));
        cases.push(case(last, last.times, Backend::Postgres, other));
    }
    cases
}

/// Each place, at the first and the last time it is reached, in all six surroundings.
pub fn all_cases(places: &[Place]) -> Vec<Case> {
    let mut cases = Vec::new();
    for place in places {
        let first = if place.known { place.times } else { 1 };
        for time in BTreeSet::from([first, place.times]) {
            for backend in [Backend::Sqlite, Backend::Postgres] {
                cases.extend(Redis::ALL.map(|redis| case(place, time, backend, redis)));
            }
        }
    }
    cases
}

/// How many names there are; a place stands once for each journey.
pub fn count(places: &[Place]) -> usize {
    places.chunk_by(|a, b| a.point == b.point).count()
}

fn case(place: &Place, time: u64, backend: Backend, redis: Redis) -> Case {
    Case { point: place.point.clone(), time, journey: place.journey, backend, redis }
}
