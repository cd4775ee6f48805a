//! Following a job: every event once, from any cursor, under any load.

use futures::future::join_all;
use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_testkit::Backend;

use crate::model::{FakeModel, KEYS, Reply, plain, willing};
use crate::stage::{Stage, assert_whole, followed_text, of_kind};

quire_testkit::on_both_databases!(
    a_cursor_gives_exactly_the_rest,
    the_text_that_is_followed_is_the_text_that_is_written,
    a_crowd_that_comes_at_all_times_and_reads_at_all_speeds_misses_nothing,
    many_jobs_at_once_leave_no_gap_in_any_log,
    a_follower_is_let_go_when_the_service_stops,
);

async fn a_cursor_gives_exactly_the_rest(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let live = service.events(&job_id, 0).await;
    assert_whole(&live, 1, "completed");
    let last = live.last().unwrap().seq;
    for cursor in 0..=last {
        let rest = service.events(&job_id, cursor).await;
        assert_eq!(rest, live[usize::try_from(cursor).unwrap()..]);
    }
    assert_eq!(service.events(&job_id, last + 7).await, []);
    let job = service.job(&job_id).await;
    assert_eq!((job.last_seq, job.percent, job.attempt), (last, 100, 1));
}

async fn the_text_that_is_followed_is_the_text_that_is_written(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    for key in KEYS {
        assert_eq!(followed_text(&events, key), plain(key));
    }
    let planned = of_kind(&events, "planned");
    assert_eq!((planned[0]["chapters"].as_i64(), planned[0]["sections"].as_i64()), (Some(2), Some(4)));
}

/// Some follow from the start, some come later with a cursor, and none of these reads anything before the job is done: it
/// has written far more by then than is kept for those who follow closely. They hold up nobody else on their connection.
async fn a_crowd_that_comes_at_all_times_and_reads_at_all_speeds_misses_nothing(backend: Backend) {
    let pieces = |asked: &str| -> Vec<String> {
        let mut dice = fastrand::Rng::with_seed(asked.bytes().map(u64::from).sum());
        // Each is enough to be published by itself.
        let mut word = || (0..7).map(|_| dice.lowercase()).collect::<String>() + " ";
        (0..150).map(|_| (0..300).map(|_| word()).collect()).collect()
    };
    let model = FakeModel::start(move |asked, number| match asked {
        "outline" => willing(asked, number),
        key => Reply::Says(pieces(key)),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push((0, service.watch(&job_id, 0).await));
    }
    let seen = service.wait_for(&job_id, "text", 10).await.last().unwrap().seq;
    let mut quick = Vec::new();
    for number in 0..40 {
        let after = number % seen;
        quick.push((after, service.watch(&job_id, after).await));
    }
    let log = service.events(&job_id, 0).await;
    assert_whole(&log, 1, "completed");
    assert!(of_kind(&log, "text").len() > 400, "more than is kept");
    let readers = slow.into_iter().chain(quick).map(async |(after, mut stream)| {
        let mut events = Vec::new();
        while let Some(answer) = stream.message().await.unwrap() {
            events.push(answer.event.unwrap());
        }
        assert_eq!(events, log[usize::try_from(after).unwrap()..]);
    });
    join_all(readers).await;
}

async fn many_jobs_at_once_leave_no_gap_in_any_log(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 4).await;
    let mut ids = Vec::new();
    for number in 0..8 {
        let (order, document) = (format!("order-{number}"), format!("document-{number}"));
        ids.push(service.start_order(&order, &document, 6).await.unwrap().job_id);
    }
    let followers = ids.iter().map(|job_id| {
        let request = service.as_admin(pb::WatchJobRequest { job_id: job_id.clone(), after_seq: 0 });
        let mut client = service.client.clone();
        async move {
            let mut stream = client.watch_job(request).await.unwrap().into_inner();
            let mut events = Vec::new();
            while let Some(answer) = stream.message().await.unwrap() {
                events.push(answer.event.unwrap());
            }
            events
        }
    });
    for events in join_all(followers).await {
        assert_whole(&events, 1, "completed");
        assert_eq!(of_kind(&events, "section_done").len(), KEYS.len());
    }
    let mut settled: Vec<String> =
        stage.payment.wait_settled(8).await.into_iter().map(|one| one.order_id).collect();
    settled.sort();
    assert_eq!(settled, (0..8).map(|number| format!("order-{number}")).collect::<Vec<_>>());
}

async fn a_follower_is_let_go_when_the_service_stops(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let job_id = service.start_paid().await;
    let mut stream = service.watch(&job_id, 0).await;
    assert_eq!(stream.message().await.unwrap().unwrap().event.unwrap().kind, "queued");
    service.stop().await;
    assert!(stream.message().await.unwrap().is_none());
}
