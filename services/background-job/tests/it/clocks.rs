//! Clocks that are wrong, and clocks that are turned: only the database's time says who has a job, and a rest may be long.

use std::sync::Arc;
use std::time::Duration;

use quire_background_job::Config;
use quire_clock::{Clock, ManualClock, SystemClock, Timestamp, World};
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::JobStatus;
use quire_testkit::Backend;
use tokio::sync::watch;

use crate::model::{FakeModel, KEYS, Reply, plain, willing};
use crate::stage::{OWNER, Stage, assert_whole, followed_text, of_kind};

quire_testkit::on_both_databases!(
    workers_with_skewed_clocks_keep_and_take_over_jobs_as_others_do,
    a_job_rests_for_an_hour_over_a_restart_and_goes_on_at_the_next_section,
);

/// Goes right, but shows another time.
struct Skewed {
    micros: i64,
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(SystemClock.now().unix_micros() + self.micros)
    }
}

fn skewed(minutes: i64) -> World {
    World::with_clock(Arc::new(Skewed { micros: minutes * 60 * 1_000_000 }))
}

async fn workers_with_skewed_clocks_keep_and_take_over_jobs_as_others_do(backend: Backend) {
    for (first, second) in [(10, -10), (-10, 10)] {
        let model = FakeModel::start(|asked, number| match (asked, number) {
            ("2.1", 1) => Reply::Hangs("This half is never".to_owned()),
            _ => willing(asked, number),
        });
        let stage = Stage::openai(backend, model.await).await;
        let model = stage.model.clone().unwrap();
        let apart = |config: &mut Config| {
            config.exclusive_data_dir = false;
            config.concurrency = 1;
            config.lease = Duration::from_secs(2);
        };
        // Whoever asks knows what time it is, and works nothing.
        let mut door = stage
            .start_with(World::system(), |config| {
                apart(config);
                config.concurrency = 0;
            })
            .await;
        let job_id = door.start_paid().await;
        let holder = stage.start_with(skewed(first), apart).await;
        door.wait_for(&job_id, "text", 3).await;
        let heir = stage.start_with(skewed(second), apart).await;

        // For more than a lease the second one could take it, if the time of either counted.
        let lease = async || stage.rows("job_leases", &["epoch", "expires_at"], "job_id").await;
        let mut held = lease().await;
        for _ in 0..8 {
            let before = held;
            held = lease().await;
            while held == before {
                held = lease().await;
            }
        }
        assert_eq!(held[0][0], "1", "{first} {second}");
        assert_eq!((door.job(&job_id).await.attempt, model.calls("2.1")), (1, 1));

        holder.kill();
        let events = door.events(&job_id, 0).await;
        assert_whole(&events, 1, "completed");
        assert_eq!(door.job(&job_id).await.attempt, 2);
        assert_eq!(KEYS.map(|key| model.calls(key)), [1, 1, 2, 1]);
        for key in KEYS {
            assert_eq!(followed_text(&events, key), plain(key));
        }
        heir.stop().await;
    }
}

const TEN: [&str; 10] = ["1.1", "1.2", "1.3", "1.4", "1.5", "2.1", "2.2", "2.3", "2.4", "2.5"];
const OUTLINE_OF_TEN: &str = r#"{"chapters":[{"title":"Paper","sections":["Rags","Wood","Size","Felt","Mould"]},
    {"title":"Ink","sections":["Soot","Oil","Gall","Gum","Lac"]}]}"#;

async fn a_job_rests_for_an_hour_over_a_restart_and_goes_on_at_the_next_section(backend: Backend) {
    let (release, released) = watch::channel(false);
    let model = FakeModel::start(move |asked, number| match (asked, number) {
        ("outline", _) => Reply::says(OUTLINE_OF_TEN),
        ("1.3", 1) => Reply::Waits(
            "The text of ".to_owned(),
            released.clone(),
            "section 1.3. It is *short*.".to_owned(),
        ),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let model = stage.model.clone().unwrap();
    let clock = ManualClock::at(SystemClock.now());
    let world = World::with_clock(clock.clone());
    let one_each = |config: &mut Config| config.jobs_per_user = 1;
    let mut service = stage.start_with(world.clone(), one_each).await;
    let job_id = service.start_order("order-1", "document-1", 12).await.unwrap().job_id;
    service.wait_for(&job_id, "text", 3).await;
    let lease = async || stage.rows("job_leases", &["expires_at"], "job_id").await;
    let before = lease().await;
    let request = service.as_user(OWNER, pb::PauseJobRequest { job_id: job_id.clone() });
    service.client.pause_job(request).await.unwrap();
    // Its worker renews the lease as soon as it is called, and then knows.
    while lease().await == before {}
    release.send(true).unwrap();
    service.wait_for(&job_id, "paused", 1).await;
    let resting = service.job(&job_id).await;
    assert_eq!((resting.status(), resting.sections_done), (JobStatus::Paused, 3));
    assert_eq!(resting.forecast, None);
    service.stop().await;

    // Somebody else's job of the same user, who may have one at a time, shows that no slot is held.
    let mut service = stage.start_with(world.clone(), one_each).await;
    let calls = || TEN.map(|key| model.calls(key));
    assert_eq!(calls(), [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]);
    let other = service.start_order("order-2", "document-2", 12).await.unwrap().job_id;
    assert_whole(&service.events(&other, 0).await, 1, "completed");
    clock.advance(Duration::from_secs(3600));
    service.stop().await;
    let mut service = stage.start_with(world, one_each).await;
    assert_eq!(service.job(&job_id).await, resting);
    assert_eq!(calls(), [2, 2, 2, 1, 1, 1, 1, 1, 1, 1], "only the other job wrote");

    let request = service.as_user(OWNER, pb::ResumeJobRequest { job_id: job_id.clone() });
    service.client.resume_job(request).await.unwrap();
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(calls(), [2; 10]);
    let at = |kind: &str| {
        let event = events.iter().find(|event| event.kind == kind).unwrap();
        quire_proto::from_timestamp(event.at.as_ref().unwrap())
    };
    assert!(at("resumed") - at("paused") >= 3600 * 1_000_000);
    let started = of_kind(&events, "section_started");
    let keys: Vec<&str> = started.iter().map(|started| started["key"].as_str().unwrap()).collect();
    assert_eq!(keys, TEN, "each section was begun once, in order");
    for key in TEN {
        assert_eq!(followed_text(&events, key), plain(key));
    }
}
