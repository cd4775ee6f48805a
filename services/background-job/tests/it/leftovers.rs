//! What a lost attempt leaves behind goes with the end of its job.

use quire_background_job::Config;
use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_testkit::Backend;

use crate::model::{FakeModel, Reply, willing};
use crate::stage::{OWNER, Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    the_call_of_an_attempt_that_died_is_booked_when_its_job_ends,
    the_pieces_of_a_section_go_when_its_job_fails,
    a_lease_that_ran_out_is_not_renewed,
);

async fn the_call_of_an_attempt_that_died_is_booked_when_its_job_ends(backend: Backend) {
    let model = FakeModel::start(|asked, number| match asked {
        "1.1" => Reply::Hangs("Half a sentence".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 1).await;
    service.kill();
    let mut service = stage.start().await;
    service.cancel(&job_id).await;
    assert_whole(&service.events(&job_id, 0).await, 1, "cancelled");
    let calls = stage.rows("cost_ledger", &["step_key", "status"], "started_at, id").await;
    assert_eq!(calls[..2], [["plan", "settled"], ["section:1.1", "wasted"]]);
    assert!(calls.iter().all(|call| call[1] != "open"), "{calls:?}");
}

async fn the_pieces_of_a_section_go_when_its_job_fails(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("1.1", 1) => Reply::BreaksOff("Half a sentence that".to_owned()),
        ("1.1", _) => Reply::Refuses(400, None),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    assert_whole(&service.events(&job_id, 0).await, 1, "failed");
    assert_eq!(stage.rows("job_chunks", &["step_key"], "step_key").await, Vec::<Vec<String>>::new());
}

/// As of a machine that slept: by its own clock it has the job still, but its user's place may be taken.
async fn a_lease_that_ran_out_is_not_renewed(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("1.1", 1) => Reply::Hangs("Half a sentence".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let one = |config: &mut Config| config.concurrency = 1;
    let mut service = stage.start_with(World::system(), one).await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 1).await;
    stage.expire_leases().await;
    // Makes the holder look at its lease; it gives the job up, and then takes it as any other worker.
    let request = service.as_user(OWNER, pb::PauseJobRequest { job_id: job_id.clone() });
    service.client.pause_job(request).await.unwrap();
    let request = service.as_user(OWNER, pb::ResumeJobRequest { job_id: job_id.clone() });
    service.client.resume_job(request).await.unwrap();
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!((service.job(&job_id).await.attempt, of_kind(&events, "retrying").len()), (2, 0));
}
