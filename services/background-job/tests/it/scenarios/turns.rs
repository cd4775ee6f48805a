//! Scenarios 9 and 10: users with many jobs hold nobody up, and limits hold while processes die.

use std::collections::HashMap;
use std::time::Duration;

use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_testkit::Backend;
use tokio::sync::watch;

use super::ready;
use crate::elsewhere::{Elsewhere, PATIENCE, Setup};
use crate::model::{FakeModel, Reply, willing};
use crate::stage::{OWNER, Stage, as_payment, assert_whole, setting};

quire_testkit::on_both_databases!(
    one_job_waits_for_one_place_beside_two_users_with_many,
    a_user_never_has_more_at_work_than_allowed_while_processes_die,
);

/// Jobs of each of the two unless `QUIRE_TEST_QUEUE` says otherwise; the scenario says 500.
const MANY: u64 = 60;
/// So many completed jobs of one user say something about the pace of both: at the scenario's own size.
const MEANINGFUL: i64 = 200;
const SLOTS: usize = 8;
const PER_USER: u32 = 3;

/// The most jobs of one user that are running at the same time, and the number that are running now.
fn most(rows: &[Vec<String>]) -> usize {
    let mut users: HashMap<&str, usize> = HashMap::new();
    for row in rows {
        *users.entry(&row[0]).or_default() += 1;
    }
    users.values().copied().max().unwrap_or_default()
}

async fn one_job_waits_for_one_place_beside_two_users_with_many(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let many = usize::try_from(setting("QUIRE_TEST_QUEUE", MANY)).unwrap();
    let mut orders: Vec<(String, usize)> =
        (0..many).flat_map(|number| ["a", "b"].map(|user| (user.to_owned(), number))).collect();
    orders.push(("c".to_owned(), 0));
    ready::jobs(&stage, &orders).await;
    let _service = stage
        .start_with(World::system(), |config| {
            config.concurrency = SLOTS;
            config.jobs_per_user = PER_USER;
        })
        .await;
    let mut of_one = 0;
    let done = stage.payment.has_settled_jobs(orders.len() + 1);
    tokio::pin!(done);
    let running = "(SELECT user_id FROM jobs WHERE status = 'running') running";
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            biased;
            () = &mut done => break,
            _ = looks.tick() => of_one = of_one.max(most(&stage.rows(running, &["user_id"], "user_id").await)),
        }
    }
    assert!((1..=PER_USER as usize).contains(&of_one), "{of_one} jobs of one user");

    // In the order in which places were taken, and became free.
    let events = stage
        .rows(
            "(SELECT user_id, kind, at, seq FROM job_events JOIN jobs ON jobs.id = job_events.job_id
              WHERE kind IN ('started', 'completed') AND order_id <> 'order-1') told",
            &["user_id", "kind", "at"],
            "at, seq",
        )
        .await;
    let place = events.iter().position(|event| event[0] == "c" && event[1] == "started").unwrap();
    let before: Vec<_> = events[..place].iter().filter(|event| event[1] == "completed").collect();
    // The places that were free at first, and the one that C got.
    assert!(before.len() <= SLOTS, "C waited for {} jobs", before.len());
    let mut completed = HashMap::from([("a", 0_i64), ("b", 0)]);
    for event in events.iter().filter(|event| event[1] == "completed" && event[0] != "c") {
        *completed.get_mut(&*event[0]).unwrap() += 1;
        let (a, b) = (completed["a"], completed["b"]);
        // Of few, chance alone makes a tenth: each has places of its own.
        let even = a.max(b) < MEANINGFUL || (a - b).abs() <= a.max(b) / 10;
        assert!(even, "{a} of A and {b} of B");
    }
    let all = i64::try_from(many).unwrap();
    assert_eq!(completed, HashMap::from([("a", all), ("b", all)]));
}

async fn a_user_never_has_more_at_work_than_allowed_while_processes_die(backend: Backend) {
    const LIMIT: u32 = 4;
    let (release, released) = watch::channel(false);
    let model = FakeModel::start(move |asked, number| match asked {
        "1.1" => Reply::Waits("The text".to_owned(), released.clone(), " of section 1.1.".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let model = stage.model.clone().unwrap();
    let setup = Setup {
        workers: 4,
        jobs_per_user: LIMIT,
        lease: Duration::from_secs(4),
        alone: false,
        ..Setup::default()
    };
    let mut half = Elsewhere::start(&stage, &setup).await;
    let mut ids = Vec::new();
    for number in 0..10 {
        let request = as_payment(pb::StartJobRequest {
            order_id: format!("order-{number}"),
            document_id: format!("document-{number}"),
            user_id: OWNER.to_owned(),
            pages: 6,
        });
        ids.push(half.service.client.start_job(request).await.unwrap().into_inner().job_id);
    }
    // At its limit, all of it with the half that dies.
    model.was_asked_times("1.1", LIMIT as usize).await;
    let mut other = setup.start_here(&stage).await;
    let live = if backend == Backend::Postgres {
        "(SELECT job_id FROM job_leases WHERE expires_at >= extract(epoch FROM clock_timestamp()) * 1000000) live"
    } else {
        "(SELECT job_id FROM job_leases WHERE expires_at >= unixepoch('now', 'subsec') * 1000000) live"
    };
    let count = async || stage.rows(live, &["job_id"], "job_id").await.len();
    assert_eq!(count().await, LIMIT as usize);
    half.process.kill();
    let mut most = 0;
    let back = async {
        // The other half takes what the dead one had, and no more than that.
        loop {
            most = most.max(count().await);
            if model.calls("1.1") >= 2 * LIMIT as usize {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    assert_eq!(count().await, LIMIT as usize, "no place is lost");
    assert_eq!(most, LIMIT as usize);
    release.send(true).unwrap();
    for id in &ids {
        assert_whole(&other.events(id, 0).await, 1, "completed");
    }
    assert_eq!(stage.payment.wait_settled(10).await.len(), 10);
}
