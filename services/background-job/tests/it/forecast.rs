//! What a job is expected to come to, as its owner sees it.

use quire_clock::{Timestamp, World};
use quire_proto::job::v1 as pb;
use quire_testkit::Backend;
use quire_testkit::model_server::USAGE;
use tokio::sync::watch;

use crate::model::{FakeModel, KEYS, Reply, willing};
use crate::stage::{OWNER, Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    a_forecast_comes_with_the_first_section_and_ends_with_the_job,
    finished_jobs_tell_of_the_next_one_before_its_first_section,
);

/// What a call of the played model costs: nothing for reading, two micro-dollars for each written token.
const COST: i64 = 2 * USAGE.1;

fn priced(config: &mut quire_background_job::Config) {
    config.models.prices = "test-model=0/2".parse().unwrap();
}

fn micros(moment: Option<&prost_types::Timestamp>) -> i64 {
    quire_proto::from_timestamp(moment.unwrap())
}

async fn a_forecast_comes_with_the_first_section_and_ends_with_the_job(backend: Backend) {
    let (release, released) = watch::channel(false);
    let model = FakeModel::start(move |asked, number| match (asked, number) {
        ("1.1" | "2.1", 1) => {
            Reply::Waits("The text of ".to_owned(), released.clone(), "the section.".to_owned())
        }
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let mut service = stage.start_with(World::system(), priced).await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 1).await;
    assert_eq!(service.job(&job_id).await.forecast, None, "nothing was ever measured");
    release.send(true).unwrap();
    service.wait_for(&job_id, "section_done", 2).await;
    let asked_at = World::system().now().unix_micros();
    let running = service.job(&job_id).await;
    if running.status() == pb::JobStatus::Running {
        let forecast = running.forecast.unwrap();
        let (p50, p90) = (micros(forecast.finish_p50.as_ref()), micros(forecast.finish_p90.as_ref()));
        assert!(asked_at <= p50 && p50 <= p90, "{forecast:?}");
        // A call under way counts with the most that it can cost.
        assert!(forecast.cost_micro.is_some_and(|cost| cost >= 5 * COST), "{forecast:?}");
    }

    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(service.job(&job_id).await.forecast, None);
    let done: Vec<&pb::JobEvent> = events.iter().filter(|event| event.kind == "section_done").collect();
    let told = of_kind(&events, "section_done");
    assert_eq!(told.len(), KEYS.len());
    for (event, data) in done.iter().zip(&told) {
        let moment = |name: &str| {
            let text = data["forecast"][name].as_str().unwrap_or_else(|| panic!("no {name} in {data}"));
            Timestamp::parse_rfc3339(text).unwrap().unix_micros()
        };
        let (p50, p90) = (moment("finish_p50"), moment("finish_p90"));
        assert!(micros(event.at.as_ref()) <= p50 && p50 <= p90, "{data}");
        assert_eq!(data["forecast"]["cost_micro"], 5 * COST, "each section costs the same");
    }
}

async fn finished_jobs_tell_of_the_next_one_before_its_first_section(backend: Backend) {
    let (release, released) = watch::channel(false);
    let model = FakeModel::start(move |asked, number| match (asked, number) {
        ("1.1", 2) => Reply::Waits("The text of ".to_owned(), released.clone(), "the section.".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let mut service = stage.start_with(World::system(), priced).await;
    let first = service.start_paid().await;
    assert_whole(&service.events(&first, 0).await, 1, "completed");

    let job_id = service.start_order("order-2", "document-2", 6).await.unwrap().job_id;
    service.wait_for(&job_id, "text", 1).await;
    let forecast = service.job(&job_id).await.forecast.unwrap();
    assert!(micros(forecast.finish_p50.as_ref()) <= micros(forecast.finish_p90.as_ref()));
    assert!(forecast.cost_micro.unwrap() > 0);
    let request = service.as_user(OWNER, pb::ListJobsRequest::default());
    let listed = service.client.list_jobs(request).await.unwrap().into_inner().jobs;
    assert!(listed.iter().all(|job| job.forecast.is_none()), "lists do not compute it");
    let request = service.as_user(OWNER, pb::PauseJobRequest { job_id: job_id.clone() });
    service.client.pause_job(request).await.unwrap();
    release.send(true).unwrap();
    service.wait_for(&job_id, "paused", 1).await;
    assert_eq!(service.job(&job_id).await.forecast, None, "nobody knows how long it rests");
}
