//! Many jobs that have everything but their last step behind them, so that hundreds of them end within seconds.

use futures::future::join_all;
use quire_clock::World;
use quire_proto::job::v1 as pb;

use crate::stage::{Stage, as_payment, assert_whole};

/// Starts asked for at once.
const AT_ONCE: usize = 50;

pub fn order(user: &str, number: usize) -> String {
    format!("order-{user}-{number}")
}

/// Starts a job for each user and number, in this order, while nobody works. One more job, whose results they share, is
/// done before.
pub async fn jobs(stage: &Stage, orders: &[(String, usize)]) -> Vec<String> {
    let mut service = stage.start().await;
    let done = service.start_paid().await;
    assert_whole(&service.events(&done, 0).await, 1, "completed");
    service.stop().await;
    // The next start empties the steps of what is done.
    stage.execute("CREATE TABLE done_steps AS SELECT * FROM job_steps").await;
    let idle = stage.start_with(World::system(), |config| config.concurrency = 0).await;
    let mut ids = Vec::new();
    for orders in orders.chunks(AT_ONCE) {
        let starts = orders.iter().map(|(user, number)| {
            let request = as_payment(pb::StartJobRequest {
                order_id: order(user, *number),
                document_id: format!("document-{user}-{number}"),
                user_id: user.clone(),
                pages: 6,
            });
            let mut client = idle.client.clone();
            async move { client.start_job(request).await.unwrap().into_inner().job_id }
        });
        ids.extend(join_all(starts).await);
    }
    idle.stop().await;
    stage
        .execute(&format!(
            "INSERT INTO job_steps (job_id, step_key, input_hash, status, epoch, content, writer, input_tokens,
               output_tokens, done_at)
             SELECT job.id, step.step_key, step.input_hash, step.status, 0, step.content, step.writer, 0, 0, step.done_at
             FROM done_steps step CROSS JOIN jobs job WHERE job.id <> '{done}'"
        ))
        .await;
    let progress = "step = 'typeset', sections_done = 4, sections_total = 4, percent = 95, counted_pages = 6";
    stage.change_jobs(&format!("{progress} WHERE id <> '{done}'")).await;
    // In the order of the list, whichever start was stored first.
    let places = ids.iter().enumerate().map(|(place, id)| format!("WHEN '{id}' THEN {}", place + 1));
    let places: String = places.collect::<Vec<_>>().join(" ");
    let first = format!("(SELECT first.created_at FROM jobs first WHERE first.id = '{done}')");
    stage.change_jobs(&format!("created_at = {first} + CASE id {places} ELSE 0 END")).await;
    ids
}
