//! Scenarios 1 and 3: a process that is killed in the middle of a section, and one that comes back under its old name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quire_testkit::Backend;
use tokio::sync::watch;

use crate::elsewhere::{Elsewhere, Setup};
use crate::model::{FakeModel, Reply, plain, willing};
use crate::stage::{DOCUMENT, ORDER, Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    a_killed_process_costs_no_finished_section_and_not_a_byte,
    a_process_that_comes_back_at_once_gets_its_job_back,
);

/// Two chapters with five sections each.
const OUTLINE: &str = "{\"chapters\":[\
    {\"title\":\"Paper\",\"sections\":[\"Rags\",\"Wood\",\"Vats\",\"Felt\",\"Size\"]},\
    {\"title\":\"Ink\",\"sections\":[\"Soot\",\"Oil\",\"Gall\",\"Iron\",\"Gum\"]}]}";
/// Enough for so many sections.
const PAGES: i32 = 20;
const FIRST: [&str; 4] = ["1.1", "1.2", "1.3", "1.4"];
const LATER: [&str; 6] = ["1.5", "2.1", "2.2", "2.3", "2.4", "2.5"];

fn whole(asked: &str) -> Reply {
    match asked {
        "outline" => Reply::says(OUTLINE),
        key => Reply::says(&plain(key)),
    }
}

/// Everything that document was given of the delivered book: each section, and the last files.
fn book(stage: &Stage) -> (Vec<(String, String)>, Vec<Vec<u8>>) {
    let told = stage.document.told.lock().unwrap();
    let mut sections: Vec<_> =
        told.sections.iter().map(|sent| (sent.key.clone(), sent.blocks_json.clone())).collect();
    sections.sort();
    sections.dedup();
    let files = told.exports.iter().rev().take(2).map(|(_, bytes)| bytes.clone()).collect();
    (sections, files)
}

async fn a_killed_process_costs_no_finished_section_and_not_a_byte(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(|asked, _| whole(asked)).await).await;
    let mut service = stage.start().await;
    let job_id = service.start_order(ORDER, DOCUMENT, PAGES).await.unwrap().job_id;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    service.stop().await;
    let uninterrupted = book(&stage);
    assert_eq!(uninterrupted.0.len(), 10);

    let killed = Arc::new(AtomicBool::new(false));
    let (release, released) = watch::channel(false);
    let script = {
        let killed = killed.clone();
        move |asked: &str, _: usize| {
            let text = plain(asked);
            let (half, rest) = text.split_at(text.len() / 2);
            match (LATER.contains(&asked), killed.load(Ordering::SeqCst)) {
                (true, false) => Reply::Hangs(half.to_owned()),
                (true, true) => Reply::Waits(half.to_owned(), released.clone(), rest.to_owned()),
                (false, _) => whole(asked),
            }
        }
    };
    let stage = Stage::openai(backend, FakeModel::start(script).await).await;
    let model = stage.model.clone().unwrap();
    let setup = Setup { lease: Duration::from_secs(4), alone: false, ..Setup::default() };
    let mut doomed = Elsewhere::start(&stage, &setup).await;
    let job_id = doomed.service.start_order(ORDER, DOCUMENT, PAGES).await.unwrap().job_id;
    doomed.service.wait_for(&job_id, "section_done", 4).await;
    let half_said = |events: &[quire_proto::job::v1::JobEvent]| {
        of_kind(events, "text").iter().any(|text| text["key"] == "1.5")
    };
    doomed.service.wait_until(&job_id, half_said).await;
    doomed.process.kill();
    killed.store(true, Ordering::SeqCst);

    let mut successor = setup.start_here(&stage).await;
    successor.wait_for(&job_id, "started", 2).await;
    model.was_asked_times("1.5", 2).await;
    let rows = stage.rows("jobs", &["attempt", "crash_count"], "id").await;
    assert_eq!(rows, [["2", "1"]]);
    release.send(true).unwrap();
    let events = successor.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(FIRST.map(|key| model.calls(key)), [1; 4]);
    assert!(LATER.iter().all(|key| model.calls(key) <= 2));
    assert_eq!(model.calls("outline"), 1);
    assert_eq!(of_kind(&events, "section_done").len(), 10);
    assert_eq!(book(&stage), uninterrupted);
    let settled = stage.payment.wait_settled(1).await;
    assert_eq!((settled.len(), settled[0].delivered_pages), (1, 6));
}

async fn a_process_that_comes_back_at_once_gets_its_job_back(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("2.1", 1) => Reply::Hangs("This half is never".to_owned()),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let setup = Setup { lease: Duration::from_secs(4), alone: false, ..Setup::default() };
    let mut first = Elsewhere::start(&stage, &setup).await;
    let job_id = first.service.start_paid().await;
    first.service.wait_for(&job_id, "text", 3).await;
    first.process.kill();
    // The same program with the same settings on the same machine.
    let mut second = Elsewhere::start(&stage, &setup).await;
    let events = second.service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(second.service.job(&job_id).await.attempt, 2);
    assert_eq!(stage.payment.wait_settled(1).await.len(), 1);
}
