//! Several sections of one job at the same time: what they are told and what comes of them does not depend on which is
//! quicker, and whatever happens to one of them, no text is bought twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use quire_background_job::{Budgets, Config};
use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::JobStatus;
use quire_testkit::Backend;
use quire_testkit::model_server::USAGE;
use serde_json::Value;
use tokio::sync::watch;

use crate::model::{FakeModel, LONGER_KEYS, LONGER_OUTLINE, Reply, plain};
use crate::press::FixedPress;
use crate::stage::{OWNER, Stage, assert_whole, followed_text, of_kind};

quire_testkit::on_both_databases!(
    four_calls_are_under_way_and_each_is_told_what_is_behind_the_window,
    nobody_who_writes_is_starved_by_the_others,
    a_crash_changes_neither_a_prompt_nor_a_byte,
    whoever_breaks_the_process_is_found_by_writing_alone,
    a_cancellation_ends_all_calls_and_books_them,
    a_part_with_gaps_says_which_sections_it_has,
    a_pause_lets_those_under_way_come_to_their_end,
    one_that_fails_lets_the_others_finish_and_is_tried_alone,
    four_calls_together_never_pass_the_budget,
    a_dearer_model_pauses_the_job_and_more_money_goes_on,
);

const AT_ONCE: usize = 4;

/// The longer outline and plain sections.
fn longer(asked: &str) -> Reply {
    match asked {
        "outline" => Reply::says(LONGER_OUTLINE),
        key => Reply::says(&plain(key)),
    }
}

/// Every section waits for the sign when it is asked for it first.
async fn held() -> (FakeModel, watch::Sender<bool>) {
    let (release, released) = watch::channel(false);
    let model = FakeModel::start(move |asked, number| match (asked, number) {
        ("outline", _) => longer(asked),
        (key, 1) => {
            Reply::Waits("The text ".to_owned(), released.clone(), plain(key)["The text ".len()..].to_owned())
        }
        _ => longer(asked),
    });
    (model.await, release)
}

fn calls(model: &FakeModel) -> [usize; 6] {
    LONGER_KEYS.map(|key| model.calls(key))
}

/// What was said to the model about each section, each time.
fn prompts(model: &FakeModel) -> BTreeMap<String, Vec<String>> {
    let mut prompts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for request in model.requests().iter() {
        let ask = request["messages"][1]["content"].as_str().unwrap();
        if let Some(rest) = ask.strip_prefix("Write section ") {
            let key = rest.split(' ').next().unwrap().to_owned();
            prompts.entry(key).or_default().push(request["messages"].to_string());
        }
    }
    prompts
}

fn assert_texts(events: &[pb::JobEvent]) {
    for key in LONGER_KEYS {
        assert_eq!(followed_text(events, key), plain(key));
    }
}

async fn four_calls_are_under_way_and_each_is_told_what_is_behind_the_window(backend: Backend) {
    let (model, release) = held().await;
    let stage = Stage::openai(backend, model.clone()).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    for key in &LONGER_KEYS[..AT_ONCE] {
        model.was_asked(key).await;
    }
    assert_eq!(calls(&model), [1, 1, 1, 1, 0, 0], "none has ended, so no other may start");
    release.send(true).unwrap();
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_texts(&events);
    assert_eq!(calls(&model), [1; 6]);
    let done: Vec<i64> =
        of_kind(&events, "section_done").iter().map(|done| done["percent"].as_i64().unwrap()).collect();
    assert!(done.windows(2).all(|pair| pair[0] < pair[1]), "{done:?}");
    let job = service.job(&job_id).await;
    assert_eq!((job.sections_done, job.sections_total, job.attempt), (6, 6, 1));
    let prompts = prompts(&model);
    for (place, key) in LONGER_KEYS.iter().enumerate() {
        for (other, told) in LONGER_KEYS.iter().enumerate() {
            let summary = format!("{told}: The text of section {told}.");
            let expected = other + AT_ONCE < place + 1;
            assert_eq!(prompts[*key][0].contains(&summary), expected, "{told} in {key}");
        }
    }
}

async fn nobody_who_writes_is_starved_by_the_others(backend: Backend) {
    // Each piece is more than waits for a second one, so each is a transaction of its own.
    let piece = |piece: usize| -> String {
        (piece * 60..(piece + 1) * 60)
            .map(|sheet| format!("Sheet {sheet} lay on pile {}. ", sheet * 7))
            .collect()
    };
    let pieces: Vec<String> = (0..60).map(piece).collect();
    let length: usize = pieces.iter().map(String::len).sum();
    let model = FakeModel::start(move |asked, _| match asked {
        "outline" => longer(asked),
        _ => Reply::Says(pieces.clone()),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let first = events.iter().position(|event| event.kind == "section_done").unwrap();
    let seen = |key: &&str| -> usize {
        let texts = of_kind(&events[..first], "text").into_iter().filter(|text| text["key"] == **key);
        texts.map(|text| text["text"].as_str().unwrap().len()).sum()
    };
    let seen: Vec<usize> = LONGER_KEYS[..AT_ONCE].iter().map(seen).collect();
    assert!(seen.iter().all(|seen| *seen > length / 4), "{seen:?} of {length}");
}

/// What the document service and the press got.
async fn result(stage: &Stage, press: &FixedPress) -> (BTreeMap<String, String>, Vec<u8>) {
    let told = stage.document.told.lock().unwrap();
    let sections = told.sections.iter().map(|sent| (sent.key.clone(), sent.blocks_json.clone())).collect();
    // All but the date, which is the day's.
    let mut book = press.books.lock().unwrap().last().unwrap().clone();
    book.meta.date = Default::default();
    (sections, serde_json::to_vec(&book).unwrap())
}

async fn a_crash_changes_neither_a_prompt_nor_a_byte(backend: Backend) {
    let press = Arc::new(FixedPress::pages(6));
    let mut smooth = Stage::openai(backend, FakeModel::start(|asked, _| longer(asked)).await).await;
    smooth.press = press.clone();
    let mut service = smooth.start().await;
    let job_id = service.start_paid().await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    let expected = result(&smooth, &press).await;
    service.stop().await;

    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("1.2", 1) => Reply::Hangs("Half".to_owned()),
        _ => longer(asked),
    });
    let press = Arc::new(FixedPress::pages(6));
    let mut stage = Stage::openai(backend, model.await).await;
    stage.press = press.clone();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    // All that may be written beside the one that hangs.
    let before = service.wait_for(&job_id, "section_done", AT_ONCE).await;
    service.kill();
    let mut service = stage.start().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(events[..before.len()], before);
    assert_texts(&events);
    assert_eq!(result(&stage, &press).await, expected);
    let model = stage.model.as_ref().unwrap();
    assert_eq!(calls(model), [1, 2, 1, 1, 1, 1]);
    let (seen, smooth) = (prompts(model), prompts(smooth.model.as_ref().unwrap()));
    for key in LONGER_KEYS {
        assert!(seen[key].iter().all(|prompt| *prompt == smooth[key][0]), "{key}");
    }
}

async fn whoever_breaks_the_process_is_found_by_writing_alone(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("1.3", _) | ("1.2" | "2.1", 1) => Reply::Hangs("Half".to_owned()),
        _ => longer(asked),
    });
    let stage = Stage::openai(backend, model.await).await;
    let model = stage.model.clone().unwrap();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    for key in &LONGER_KEYS[..5] {
        model.was_asked(key).await;
    }
    service.wait_for(&job_id, "section_done", 2).await;
    // Each time it is written, the process ends.
    service.kill();
    for time in 2..=4 {
        let service = stage.start().await;
        model.was_asked_times("1.3", time).await;
        assert_eq!(calls(&model), [1, 2, time, 1, 1, 0], "nothing beside it");
        service.kill();
    }
    let mut service = stage.start().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "failed");
    assert_eq!(of_kind(&events, "failed")[0]["reason"], "poison");
    assert_eq!(calls(&model), [1, 2, 4, 1, 1, 0]);
}

async fn a_cancellation_ends_all_calls_and_books_them(backend: Backend) {
    let (model, _release) = held().await;
    let stage = Stage::openai(backend, model.clone()).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", AT_ONCE).await;
    service.cancel(&job_id).await;
    assert_whole(&service.events(&job_id, 0).await, 1, "cancelled");
    let mut rows = stage.rows("cost_ledger", &["step_key", "status"], "step_key").await;
    assert_eq!(rows.remove(0), ["plan", "settled"]);
    let booked = ["1.1", "1.2", "1.3", "2.1"].map(|key| vec![format!("section:{key}"), "estimated".into()]);
    assert_eq!(rows, booked);
    assert_eq!(stage.rows("job_chunks", &["step_key"], "start").await.len(), 0);
    assert_eq!(calls(&model), [1, 1, 1, 1, 0, 0]);
}

async fn a_part_with_gaps_says_which_sections_it_has(backend: Backend) {
    let model = FakeModel::start(|asked, _| match asked {
        "1.2" => Reply::Hangs("Half".to_owned()),
        _ => longer(asked),
    });
    let press = Arc::new(FixedPress::pages(3));
    let mut stage = Stage::openai(backend, model.await).await;
    stage.press = press.clone();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "section_done", AT_ONCE).await;
    service.cancel(&job_id).await;
    assert_whole(&service.events(&job_id, 0).await, 1, "cancelled");
    let books = press.books.lock().unwrap();
    assert_eq!(books[0].meta.subtitle.as_deref(), Some("§ 1.1, 1.3–2.2 (4/6)"));
    let titles = books[0].chapters.iter().flat_map(|chapter| &chapter.sections);
    let titles: Vec<_> = titles.map(|section| section.title.as_deref().unwrap()).collect();
    assert_eq!(titles, ["Rags", "Straw", "Soot", "Oil"]);
}

async fn a_pause_lets_those_under_way_come_to_their_end(backend: Backend) {
    let (model, release) = held().await;
    let stage = Stage::openai(backend, model.clone()).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", AT_ONCE).await;
    let lease = async || stage.rows("job_leases", &["expires_at"], "job_id").await;
    let before = lease().await;
    let request = service.as_user(OWNER, pb::PauseJobRequest { job_id: job_id.clone() });
    service.client.pause_job(request).await.unwrap();
    // The worker knows when it has renewed the lease.
    while lease().await == before {}
    release.send(true).unwrap();
    let events = service.wait_for(&job_id, "paused", 1).await;
    assert_eq!(of_kind(&events, "section_done").len(), AT_ONCE);
    assert_eq!(calls(&model), [1, 1, 1, 1, 0, 0]);
    assert_eq!(service.job(&job_id).await.status(), JobStatus::Paused);
    let request = service.as_user(OWNER, pb::ResumeJobRequest { job_id: job_id.clone() });
    service.client.resume_job(request).await.unwrap();
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_texts(&events);
    assert_eq!((calls(&model), service.job(&job_id).await.attempt), ([1; 6], 1));
}

async fn one_that_fails_lets_the_others_finish_and_is_tried_alone(backend: Backend) {
    let (release, released) = watch::channel(false);
    let model = FakeModel::start(move |asked, number| match (asked, number) {
        ("1.2", 1) => Reply::Refuses(500, None),
        ("1.1" | "1.3" | "2.1", _) => Reply::Waits(
            "The text ".to_owned(),
            released.clone(),
            plain(asked)["The text ".len()..].to_owned(),
        ),
        _ => longer(asked),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 3).await;
    stage.model.as_ref().unwrap().was_asked("1.2").await;
    // Its money is given back once it is known to have failed.
    while stage.rows("cost_ledger", &["step_key"], "id").await.len() != 4 {}
    release.send(true).unwrap();
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_texts(&events);
    assert_eq!(of_kind(&events, "retrying").len(), 1);
    let model = stage.model.as_ref().unwrap();
    assert_eq!(calls(model), [1, 2, 1, 1, 1, 1]);
    let place = |kind: &str| events.iter().position(|event| event.kind == kind).unwrap();
    let done: Vec<Value> = of_kind(&events[..place("retrying")], "section_done");
    assert_eq!(done.len(), 3, "those under way were finished, and no other was begun");
}

/// Nothing for reading, two micro-dollars for each written token.
fn priced(config: &mut Config, budget: i64) {
    config.models.prices = "test-model=0/2".parse().unwrap();
    config.models.max_output_tokens = 100;
    config.models.budgets = Budgets { job: budget, ..Budgets::default() };
}

/// What a call then costs, and the most that it can cost.
const COST: i64 = 2 * USAGE.1;
const BOUND: i64 = 200;

async fn spent(stage: &Stage) -> i64 {
    let rows = stage.rows("cost_ledger", &["cost_micro"], "id").await;
    rows.iter().map(|row| row[0].parse::<i64>().unwrap()).sum()
}

async fn four_calls_together_never_pass_the_budget(backend: Backend) {
    let (model, release) = held().await;
    let stage = Stage::openai(backend, model.clone()).await;
    // Room for what three calls could cost beside the outline; four would pass it.
    let budget = COST + 3 * BOUND;
    let mut service = stage.start_with(World::system(), |config| priced(config, budget)).await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", 3).await;
    assert_eq!(calls(&model).iter().sum::<usize>(), 3);
    let open = stage.rows("cost_ledger", &["reserved_micro"], "id").await;
    let reserved: i64 = open.iter().map(|row| row[0].parse::<i64>().unwrap()).sum();
    assert_eq!(reserved, 4 * BOUND, "the outline's, which is booked, and three");
    release.send(true).unwrap();
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_texts(&events);
    assert_eq!((of_kind(&events, "paused").len(), of_kind(&events, "retrying").len()), (0, 0));
    assert_eq!((calls(&model), spent(&stage).await), ([1; 6], 7 * COST));
}

async fn a_dearer_model_pauses_the_job_and_more_money_goes_on(backend: Backend) {
    let (model, release) = held().await;
    let stage = Stage::openai(backend, model.clone()).await;
    let budget = 2000;
    let mut service = stage.start_with(World::system(), |config| priced(config, budget)).await;
    let job_id = service.start_paid().await;
    service.wait_for(&job_id, "text", AT_ONCE).await;
    let stopping = service.stop();
    tokio::pin!(stopping);
    assert!(futures::poll!(&mut stopping).is_pending());
    release.send(true).unwrap();
    stopping.await;
    let written = calls(&model).iter().sum::<usize>();

    let dearer = |config: &mut Config, budget| {
        priced(config, budget);
        config.models.prices = "test-model=0/20".parse().unwrap();
    };
    let mut service = stage.start_with(World::system(), |config| dearer(config, budget)).await;
    let events = service.wait_for(&job_id, "paused", 1).await;
    assert_eq!(of_kind(&events, "paused")[0]["reason"], "budget_exhausted");
    assert_eq!(calls(&model).iter().sum::<usize>(), written);
    assert!(spent(&stage).await <= budget);
    service.kill();

    let mut service = stage.start_with(World::system(), |config| dearer(config, 100_000)).await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_texts(&events);
    assert_eq!(calls(&model), [1; 6]);
}
