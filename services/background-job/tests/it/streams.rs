//! Streams of models that hang, break, ramble, run out of room, and processes that die in the middle of one. Each for
//! both kinds of providers.

use std::time::Duration;

use quire_background_job::ModelConfig;
use quire_clock::World;
use quire_testkit::Backend;

use crate::model::{FakeModel, KEYS, Reply, plain, willing};
use crate::stage::{Service, Stage, assert_whole, followed_text, of_kind, setting};

quire_testkit::on_both_databases!(
    a_model_that_falls_silent_is_asked_for_the_rest,
    a_model_that_never_says_a_word_costs_a_try_and_no_lease,
    an_answer_that_breaks_off_is_continued,
    garbage_in_a_stream_voids_the_answer,
    a_model_that_repeats_itself_is_asked_once_more_in_another_way,
    an_answer_without_room_is_continued_a_few_times,
    a_process_that_dies_in_a_section_goes_on_inside_it,
);

const WRITERS: [&str; 2] = ["openai", "anthropic"];
/// How long a model says nothing unless `QUIRE_TEST_SILENCE_MS` says otherwise; scenario 14 says 60 s.
const SILENCE_MS: u64 = 2500;
const FIRST: &str = "The press was made of wood, and later";

async fn stage(
    backend: Backend,
    writer: &str,
    script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
) -> Stage {
    Stage::new(backend, writer, Some(FakeModel::start(script).await)).await.in_order()
}

/// What the model was told to go on from, in its second call for section 1.1.
fn told(stage: &Stage) -> String {
    let requests = stage.model.as_ref().unwrap().requests();
    let asked = |request: &serde_json::Value| request.to_string().contains("Write section 1.1 ");
    let second = requests.iter().filter(|request| asked(request)).nth(1).unwrap();
    let messages = second["messages"].as_array().unwrap();
    let said = messages.iter().rfind(|message| message["role"] == "assistant");
    said.map(|message| message["content"].as_str().unwrap().to_owned()).unwrap_or_default()
}

async fn job_of(service: &mut Service) -> Vec<quire_proto::job::v1::JobEvent> {
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    events
}

async fn a_model_that_falls_silent_is_asked_for_the_rest(backend: Backend) {
    for writer in WRITERS {
        let stage = stage(backend, writer, |asked, number| match (asked, number) {
            ("1.1", 1) => Reply::Hangs(FIRST.to_owned()),
            ("1.1", _) => Reply::says(" of iron."),
            _ => willing(asked, number),
        });
        let stage = stage.await;
        let silence = Duration::from_millis(500);
        let mut service = stage.start_with(World::system(), |config| config.models.silence = silence).await;
        let events = job_of(&mut service).await;
        assert_eq!(of_kind(&events, "retrying")[0]["reason"], "the model sent nothing for 0.5 seconds");
        assert_eq!(told(&stage), FIRST, "{writer}");
        assert_eq!(followed_text(&events, "1.1"), format!("{FIRST} of iron."));
    }
}

async fn a_model_that_never_says_a_word_costs_a_try_and_no_lease(backend: Backend) {
    assert_eq!(ModelConfig::default().silence, Duration::from_secs(60));
    for writer in WRITERS {
        let stage = stage(backend, writer, |asked, number| match (asked, number) {
            ("1.1", 1) => Reply::Silent,
            // The connection is kept alive, which is no progress.
            ("1.2", 1) => Reply::Hangs(String::new()),
            _ => willing(asked, number),
        });
        let stage = stage.await;
        // Longer than a lease: it is renewed all the while.
        let silence = Duration::from_millis(setting("QUIRE_TEST_SILENCE_MS", SILENCE_MS));
        let start = stage.start_with(World::system(), |config| {
            config.lease = silence.mul_f64(0.8);
            config.models.silence = silence;
            config.models.prices = "test-model=0/2".parse().unwrap();
        });
        let mut service = start.await;
        let events = job_of(&mut service).await;
        let retries = of_kind(&events, "retrying");
        assert_eq!(retries.len(), 2, "{writer}");
        for retry in retries {
            let reason = format!("the model sent nothing for {} seconds", silence.as_secs_f64());
            assert_eq!(retry["reason"], reason);
        }
        let jobs = stage.rows("jobs", &["attempt", "crash_count"], "id").await;
        assert_eq!(jobs, [["3", "0"]], "{writer}");
        let epochs = stage.rows("job_leases", &["epoch"], "job_id").await;
        assert_eq!(epochs, [["3"]], "somebody else had the job");
        // What was sent may have been read, so that it is booked; nothing of it is wasted.
        let calls = stage.rows("cost_ledger", &["status"], "started_at, id").await;
        assert_eq!(
            calls.concat(),
            ["settled", "estimated", "settled", "estimated", "settled", "settled", "settled"]
        );
    }
}

async fn an_answer_that_breaks_off_is_continued(backend: Backend) {
    for writer in WRITERS {
        let stage = stage(backend, writer, |asked, number| match (asked, number) {
            ("1.1", 1) => Reply::BreaksOff(FIRST.to_owned()),
            ("1.1", _) => Reply::says("made of wood, and later of iron."),
            _ => willing(asked, number),
        });
        let stage = stage.await;
        let mut service = stage.start().await;
        let events = job_of(&mut service).await;
        assert_eq!(of_kind(&events, "retrying")[0]["reason"], "the model's answer broke off", "{writer}");
        assert_eq!(told(&stage), FIRST);
        assert_eq!(followed_text(&events, "1.1"), format!("{FIRST} of iron."));
        assert_eq!(stage.document.times_sent("1.1"), 1);
    }
}

async fn garbage_in_a_stream_voids_the_answer(backend: Backend) {
    for writer in WRITERS {
        let stage = stage(backend, writer, |asked, number| match (asked, number) {
            ("1.1", 1) => Reply::Garbles(FIRST.to_owned()),
            _ => willing(asked, number),
        });
        let stage = stage.await;
        let mut service = stage.start().await;
        let events = job_of(&mut service).await;
        let reason = &of_kind(&events, "retrying")[0]["reason"];
        assert_eq!(reason, "the model's stream holds something that is no answer", "{writer}");
        assert_eq!(told(&stage), "");
        assert_eq!(followed_text(&events, "1.1"), plain("1.1"));
    }
}

async fn a_model_that_repeats_itself_is_asked_once_more_in_another_way(backend: Backend) {
    for writer in WRITERS {
        let stage = stage(backend, writer, |asked, number| match (asked, number) {
            ("1.1", 1) => Reply::Says(vec!["It was made of wood and of iron. ".to_owned(); 500]),
            _ => willing(asked, number),
        });
        let stage = stage.await;
        let mut service = stage.start().await;
        let events = job_of(&mut service).await;
        assert_eq!(of_kind(&events, "retrying").len(), 0, "{writer}");
        assert_eq!(followed_text(&events, "1.1"), plain("1.1"));
        let requests = stage.model.as_ref().unwrap().requests();
        assert!(requests[1].get("temperature").is_none());
        assert!(requests[2]["temperature"].is_number());
        assert!(requests[3].get("temperature").is_none());
    }
}

async fn an_answer_without_room_is_continued_a_few_times(backend: Backend) {
    const PARTS: [&str; 3] = ["The press was", " made of wood, and", " later of iron."];
    for writer in WRITERS {
        let stage = stage(backend, writer, |asked, number| match (asked, number) {
            ("1.1", 1 | 2) => Reply::Cut(PARTS[number - 1].to_owned()),
            ("1.1", _) => Reply::says(PARTS[2]),
            // This one never comes to its end.
            ("1.2", _) => Reply::Cut(format!(" And part {number} of what was said, which is")),
            _ => willing(asked, number),
        });
        let stage = stage.await;
        let mut service = stage.start().await;
        let events = job_of(&mut service).await;
        assert_eq!(followed_text(&events, "1.1"), PARTS.concat());
        let model = stage.model.as_ref().unwrap();
        assert_eq!(KEYS.map(|key| model.calls(key)), [3, 5, 1, 1], "{writer}");
    }
}

async fn a_process_that_dies_in_a_section_goes_on_inside_it(backend: Backend) {
    // More than is left unstored, and no sentence twice.
    let first: String =
        (0..80).map(|number| format!("Sheet {number} was laid on pile {}. ", number * 7)).collect();
    for writer in WRITERS {
        let begun = first.clone();
        let stage = stage(backend, writer, move |asked, number| match (asked, number) {
            ("1.1", 1) => Reply::Hangs(begun.clone()),
            // Repeats the last sentence.
            ("1.1", _) => Reply::says("Sheet 79 was laid on pile 553. Then all was dry."),
            _ => willing(asked, number),
        });
        let stage = stage.await;
        let mut service = stage.start().await;
        let job_id = service.start_paid().await;
        service.wait_for(&job_id, "text", 1).await;
        service.kill();

        let mut service = stage.start().await;
        let events = service.events(&job_id, 0).await;
        assert_whole(&events, 1, "completed");
        assert_eq!(told(&stage), first, "{writer}");
        assert_eq!(followed_text(&events, "1.1"), format!("{first}Then all was dry."));
        let model = stage.model.as_ref().unwrap();
        assert_eq!(KEYS.map(|key| model.calls(key)), [2, 1, 1, 1]);
        let rows =
            stage.rows("cost_ledger", &["step_key", "status", "output_tokens"], "started_at, id").await;
        let wasted: Vec<_> = rows.iter().filter(|row| row[1] == "wasted").collect();
        assert_eq!(wasted.len(), 1);
        let seen = (first.len().div_ceil(4)).to_string();
        assert_eq!(wasted[0][..], ["section:1.1", "wasted", seen.as_str()]);
        assert_eq!(stage.rows("job_chunks", &["step_key"], "start").await.len(), 0);
    }
}
