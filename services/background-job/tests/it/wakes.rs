//! What the other processes are told, so that they need not wait until they look by themselves.

use std::collections::BTreeSet;
use std::time::Duration;

use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_testkit::Backend;
use sea_orm::sqlx::postgres::PgListener;

use crate::stage::{OWNER, Stage};

/// Waits end here; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_processes_are_told_of_new_jobs_and_of_what_is_wanted_of_them() {
    if !Backend::postgres_is_there() {
        return;
    }
    let stage = Stage::digest(Backend::Postgres).await;
    let mut service = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let mut listener = PgListener::connect(&stage.directions().config().database.url).await.unwrap();
    listener.listen("quire_job").await.unwrap();
    let mut job_ids = Vec::new();
    for number in 0..3 {
        let (order, document) = (format!("order-{number}"), format!("document-{number}"));
        job_ids.push(service.start_order(&order, &document, 6).await.unwrap().job_id);
    }
    are_told_of(&mut listener, &job_ids).await;
    let request = service.as_user(OWNER, pb::PauseJobRequest { job_id: job_ids[0].clone() });
    service.client.pause_job(request).await.unwrap();
    are_told_of(&mut listener, &job_ids[..1]).await;
}

/// Reads messages, each the sender's boot id and the ids of jobs, until all of these were named.
async fn are_told_of(listener: &mut PgListener, job_ids: &[String]) {
    let hearing = async {
        let mut missing: BTreeSet<String> = job_ids.iter().cloned().collect();
        while !missing.is_empty() {
            let told = listener.recv().await.unwrap();
            told.payload().split(' ').skip(1).for_each(|id| {
                missing.remove(id);
            });
        }
    };
    tokio::time::timeout(PATIENCE, hearing).await.expect("the others are told");
}
