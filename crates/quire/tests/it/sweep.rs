//! A crash at every place between two durable steps: whatever dies where, one payment starts one job.
//!
//! The places are found at run time: each journey is walked once with a log of what it reaches. Then it is walked
//! again for every place, killed there, started again, and at rest everything must be as if nothing had happened.
//!
//! By default each place is tried once on each database, and Redis changes from place to place. With
//! `QUIRE_SWEEP=full` every place is tried in all six surroundings, also at the last time it is reached, and a table is
//! printed, and written to the file that `QUIRE_SWEEP_TABLE` names.

mod case;
mod journey;
mod points;
mod stage;
mod table;

use std::sync::Arc;

use futures::{StreamExt, stream};
use quire_testkit::Backend;

use self::case::{Case, Outcome, Redis};
use self::journey::Journey;
use self::points::Place;
use self::stage::Stage;
use crate::model::Model;

/// Cases at the same time: most of a case is waiting.
const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_place_leaves_one_job_and_the_right_refund() {
    let full = std::env::var("QUIRE_SWEEP").is_ok_and(|sweep| sweep == "full");
    let model = Arc::new(Model::start().await);
    let mut stages = vec![Arc::new(Stage::prepare(Backend::Sqlite, &model).await)];
    if Backend::postgres_is_there() {
        stages.push(Arc::new(Stage::prepare(Backend::Postgres, &model).await));
    }
    let redis = quire_testkit::redis().is_some();
    let places = points::reached(&stages[0], &model).await;
    points::assert_complete(&places);

    let cases = if full { points::all_cases(&places) } else { points::some_cases(&places) };
    let possible = cases.into_iter().filter(|case| redis || case.redis == Redis::Down);
    let possible = possible.filter_map(|case| {
        let stage = stages.iter().find(|stage| stage.backend == case.backend)?;
        Some((case, stage.clone()))
    });
    let results: Vec<(Case, Outcome)> = stream::iter(possible.enumerate())
        .map(|(number, (case, stage))| tried(case, stage, model.clone(), number))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;

    let table = table::render(&places, &results);
    println!("{table}");
    if let Some(file) = std::env::var_os("QUIRE_SWEEP_TABLE") {
        std::fs::write(file, &table).unwrap();
    }
    let broken: Vec<String> = results.iter().filter_map(|(case, outcome)| complaint(case, outcome)).collect();
    assert!(broken.is_empty(), "{} of {} cases:\n{}", broken.len(), results.len(), broken.join("\n"));
}

/// A job service that takes an order twice: it has no key on the order, and gives a repeated job an id of its own.
const FORGETFUL: [&str; 6] = [
    "ALTER TABLE job.jobs DROP CONSTRAINT jobs_order_id_key",
    "CREATE FUNCTION job.another() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF EXISTS (SELECT FROM job.jobs WHERE id = NEW.id) THEN
            NEW.id := NEW.id || '-again';
            NEW.finished_at := 1;
        END IF;
        RETURN NEW;
    END $$",
    "CREATE FUNCTION job.known() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF EXISTS (SELECT FROM job.job_events WHERE job_id = NEW.job_id AND seq = 1) THEN RETURN NULL; END IF;
        RETURN NEW;
    END $$",
    "CREATE TRIGGER another BEFORE INSERT ON job.jobs FOR EACH ROW EXECUTE FUNCTION job.another()",
    "CREATE TRIGGER known BEFORE INSERT ON job.job_leases FOR EACH ROW EXECUTE FUNCTION job.known()",
    "CREATE TRIGGER first BEFORE INSERT ON job.job_events FOR EACH ROW WHEN (NEW.seq = 1)
        EXECUTE FUNCTION job.known()",
];

/// What the sweep rests on can be seen to fail: without the receiver's keys a crash after the hand-over starts a second
/// job.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_service_without_keys_is_found_out() {
    if !Backend::postgres_is_there() {
        return;
    }
    let model = Model::start().await;
    let stage = Stage::prepare(Backend::Postgres, &model).await;
    stage.alter(&FORGETFUL).await;
    let case = Case {
        point: "payment.relay.sent".to_owned(),
        time: 1,
        journey: Journey::Delivered,
        backend: Backend::Postgres,
        redis: Redis::Down,
    };
    let outcome = case.run(&stage, &model, 0).await;
    assert!(outcome.killed && outcome.jobs == 2, "{outcome:?}");
    assert!(outcome.broken.iter().any(|one| one.starts_with("I1")), "{outcome:?}");
}

/// Runs a case. How often a place is reached changes a little from run to run: if it was not reached so often this time,
/// the time before is tried.
async fn tried(mut case: Case, stage: Arc<Stage>, model: Arc<Model>, number: usize) -> (Case, Outcome) {
    loop {
        let (this, stage, model) = (case.clone(), stage.clone(), model.clone());
        // A task of its own: while one case copies files, the others go on.
        let outcome = match tokio::spawn(async move { this.run(&stage, &model, number).await }).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::of_panic(&*error.into_panic()),
        };
        if outcome.killed || case.time == 1 || !outcome.broken.is_empty() {
            return (case, outcome);
        }
        case.time -= 1;
    }
}

fn complaint(case: &Case, outcome: &Outcome) -> Option<String> {
    let mut broken = outcome.broken.clone();
    if !outcome.killed {
        broken.push("the place was not reached".to_owned());
    }
    (!broken.is_empty()).then(|| format!("{case:?}:\n  {}", broken.join("\n  ")))
}

#[test]
fn a_place_reads_its_line_of_the_log() {
    let log = "17 job.start.committed#1\n18 payment.relay.sent#1\n19 payment.relay.sent#2\n";
    let places = Place::read(log, Journey::Failed);
    let found: Vec<(&str, u64)> = places.iter().map(|place| (place.point.as_str(), place.times)).collect();
    assert_eq!(found, [("job.start.committed", 1), ("payment.relay.sent", 2)]);
}
