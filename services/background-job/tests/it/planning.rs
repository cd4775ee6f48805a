//! Plans of models: each section knows what it shall cover, and a document of a thousand pages is planned in two levels.

use std::collections::HashMap;

use quire_clock::World;
use quire_testkit::Backend;

use crate::model::{FakeModel, KEYS, Reply, plain, willing};
use crate::stage::{DOCUMENT, ORDER, Stage, assert_whole, of_kind};

quire_testkit::on_both_databases!(
    every_section_is_told_what_it_covers_and_its_neighbours_do_not,
    a_thousand_pages_are_planned_in_two_levels_and_no_answer_is_bought_twice,
    the_outline_of_a_chapter_is_mended_once,
    a_chapter_without_sections_ends_the_job,
    a_chapter_with_most_of_the_pages_is_planned_in_parts,
);

/// The user's part of what was said about each thing, the first time.
fn prompts(model: &FakeModel) -> Vec<String> {
    let requests = model.requests();
    let ask = |request: &serde_json::Value| request["messages"][1]["content"].as_str().unwrap().to_owned();
    requests.iter().map(ask).collect()
}

fn about<'a>(prompts: &'a [String], beginning: &str) -> &'a str {
    prompts.iter().find(|prompt| prompt.starts_with(beginning)).unwrap()
}

/// So many chapters, each with these pages.
fn chapters(count: usize, pages: usize) -> Reply {
    let chapter = |number| {
        format!(r#"{{"title":"Chapter on {number}","pages":{pages},"about":"All about number {number}."}}"#)
    };
    let chapters: Vec<String> = (1..=count).map(chapter).collect();
    Reply::says(&format!(r#"{{"chapters":[{}]}}"#, chapters.join(",")))
}

/// So many sections of a chapter, as `chapter 7` names it.
fn sections(asked: &str, count: usize) -> Reply {
    let section = |place| {
        format!(r#"{{"title":"Part {place} of {asked}","brief":"Only what {place} of {asked} is."}}"#)
    };
    let sections: Vec<String> = (1..=count).map(section).collect();
    Reply::says(&format!(r#"{{"sections":[{}]}}"#, sections.join(",")))
}

async fn every_section_is_told_what_it_covers_and_its_neighbours_do_not(backend: Backend) {
    let outline = r#"{"chapters":[
        {"title":"Paper","sections":[{"title":"Rags","brief":"Rags before 1800."},"Wood"]},
        {"title":"Ink","sections":[{"title":"Soot","brief":"Lamp black."},{"title":"Oil","brief":"Linseed."}]}]}"#;
    let model = FakeModel::start(move |asked, number| match asked {
        "outline" => Reply::says(outline),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    let prompts = prompts(stage.model.as_ref().unwrap());
    let rags = about(&prompts, "Write section 1.1 ");
    for part in ["to the others: Rags before 1800.", "  1.1 Rags: Rags before 1800.\n  1.2 Wood\n", "2 Ink\n"]
    {
        assert!(rags.contains(part), "{part} is missing in {rags}");
    }
    assert!(!rags.contains("Linseed"), "of other chapters only the titles");
    assert!(!about(&prompts, "Write section 1.2 ").contains("to the others"));
    assert!(about(&prompts, "Write section 2.2 ").contains("to the others: Linseed."));
}

async fn a_thousand_pages_are_planned_in_two_levels_and_no_answer_is_bought_twice(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("outline", _) => chapters(51, 20),
        ("chapter 20", 1) => Reply::Hangs(r#"{"sections":[{"title":"#.to_owned()),
        (asked, _) if asked.starts_with("chapter ") => sections(asked, 12),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let model = stage.model.clone().unwrap();
    let mut service = stage.start().await;
    let job_id = service.start_order(ORDER, DOCUMENT, 1000).await.unwrap().job_id;
    model.was_asked("chapter 20").await;
    service.kill();
    let mut service = stage.start_with(World::system(), |config| config.sections_at_once = 16).await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let planned = &of_kind(&events, "planned")[0];
    assert_eq!((planned["chapters"].as_i64(), planned["sections"].as_i64()), (Some(51), Some(612)));
    assert_eq!(model.calls("outline"), 1);
    for number in 1..=51 {
        let expected = if number == 20 { 2 } else { 1 };
        assert_eq!(model.calls(&format!("chapter {number}")), expected, "chapter {number}");
        for section in 1..=12 {
            assert_eq!(model.calls(&format!("{number}.{section}")), 1);
        }
    }
    assert_eq!(stage.document.told.lock().unwrap().sections.len(), 612);

    let prompts = prompts(&model);
    let mut longest: HashMap<&str, usize> = HashMap::new();
    for prompt in &prompts {
        let kind = prompt.split(' ').next().unwrap();
        let most = longest.entry(kind).or_default();
        *most = prompt.len().max(*most);
    }
    // About 8000 tokens; six hundred lines of outline alone would be more.
    assert!(longest.values().all(|bytes| *bytes < 32_000), "{longest:?}");
    let chapter = about(&prompts, "Divide chapter 7 ");
    for part in ["1 Chapter on 1: All about number 1.\n", "51 Chapter on 51", "Plan about 12 sections"] {
        assert!(chapter.contains(part), "{part} is missing in {chapter}");
    }
    let section = about(&prompts, "Write section 30.5 ");
    for part in ["51 Chapter on 51\n", "30.12 Part 12 of chapter 30: Only what 12", "about 700 words"] {
        assert!(section.contains(part), "{part} is missing in {section}");
    }
    assert!(!section.contains("of chapter 31"), "{section}");
}

/// A job of the shortest document that is planned in two levels: six chapters.
async fn long_job(
    backend: Backend,
    script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
) -> (Stage, Vec<quire_proto::job::v1::JobEvent>) {
    let stage = Stage::openai(backend, FakeModel::start(script).await).await;
    let mut service = stage.start().await;
    let job_id = service.start_order(ORDER, DOCUMENT, 121).await.unwrap().job_id;
    let events = service.events(&job_id, 0).await;
    (stage, events)
}

async fn the_outline_of_a_chapter_is_mended_once(backend: Backend) {
    let (stage, events) = long_job(backend, |asked, number| match (asked, number) {
        ("outline", 1) => Reply::says(r#"{"chapters":[{"title":"No pages"}]}"#),
        ("outline", _) => chapters(2, 60),
        ("chapter 2", 1) => Reply::says(r#"{"sections":[]}"#),
        (asked, _) if asked.starts_with("chapter ") => sections(asked, 1),
        (key, _) => Reply::says(&plain(key)),
    })
    .await;
    assert_whole(&events, 1, "completed");
    let model = stage.model.as_ref().unwrap();
    let calls = ["outline", "chapter 1", "chapter 2"].map(|asked| model.calls(asked));
    // Thirty-five sections of each are asked for in two answers.
    assert_eq!(calls, [2, 2, 3]);
    let prompts = prompts(model);
    assert!(
        prompts
            .iter()
            .any(|prompt| prompt.contains("Its first sections are planned:\n- Part 1 of chapter 2"))
    );
    assert!(KEYS.iter().all(|key| model.calls(key) == 1));
}

async fn a_chapter_without_sections_ends_the_job(backend: Backend) {
    let (stage, events) = long_job(backend, |asked, _| match asked {
        "outline" => chapters(6, 20),
        _ => Reply::says(r#"{"sections":[]}"#),
    })
    .await;
    assert_whole(&events, 1, "failed");
    assert_eq!(of_kind(&events, "failed")[0]["reason"], "no_outline");
    assert_eq!(stage.model.as_ref().unwrap().calls("chapter 1"), 2);
}

async fn a_chapter_with_most_of_the_pages_is_planned_in_parts(backend: Backend) {
    let (stage, events) = long_job(backend, |asked, number| match (asked, number) {
        ("outline", _) => {
            Reply::says(r#"{"chapters":[{"title":"All","pages":119},{"title":"The rest","pages":1}]}"#)
        }
        (asked, number) if asked.starts_with("chapter ") => sections(&format!("answer {number}"), 2),
        (key, _) => Reply::says(&plain(key)),
    })
    .await;
    assert_whole(&events, 1, "completed");
    let model = stage.model.as_ref().unwrap();
    assert_eq!((model.calls("chapter 1"), model.calls("chapter 2")), (3, 1));
    let outline = stage.document.told.lock().unwrap().outlines[0].clone();
    let titles: Vec<&str> =
        outline.chapters[0].sections.iter().map(|section| section.title.as_str()).collect();
    let part = |place, answer| format!("Part {place} of answer {answer}");
    let expected: Vec<String> = (1..=3).flat_map(|answer| [part(1, answer), part(2, answer)]).collect();
    assert_eq!(titles, expected);
}
