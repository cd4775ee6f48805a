//! Writing with a language model: streams cut anywhere, answers that are not good enough.

use std::sync::Arc;

use bytes::Bytes;
use quire_manuscript::{Block, Inline};
use quire_testkit::Backend;

use crate::model::{FakeModel, KEYS, OUTLINE, Reply, delta, willing};
use crate::press::FixedPress;
use crate::stage::{Stage, assert_whole, followed_text, of_kind};

quire_testkit::on_both_databases!(
    characters_split_between_pieces_stay_whole,
    an_answer_cut_for_lack_of_room_is_continued,
    the_first_part_of_a_cut_answer_is_not_bought_twice,
    citations_are_kept_and_made_up_ones_are_asked_for_again,
    an_outline_that_cannot_be_read_is_mended_once,
    two_bad_outlines_end_the_job,
    sections_know_the_outline_and_what_is_written_before,
);

const UMLAUTS: &str = "Bücher über Tinte: 書物。Ende gut.";

fn blocks(stage: &Stage, key: &str) -> Vec<Block> {
    let told = stage.document.told.lock().unwrap();
    let sent = told.sections.iter().find(|sent| sent.key == key).unwrap();
    serde_json::from_str(&sent.blocks_json).unwrap()
}

fn inlines(blocks: &[Block]) -> Vec<Inline> {
    let paragraphs = blocks.iter().filter_map(|block| match block {
        Block::Paragraph { inlines, .. } => Some(inlines.clone()),
        _ => None,
    });
    paragraphs.flatten().collect()
}

async fn characters_split_between_pieces_stay_whole(backend: Backend) {
    let model = FakeModel::start(|asked, number| match asked {
        "1.1" => {
            let stream = format!("{}data: [DONE]\n\n", delta(UMLAUTS));
            Reply::Raw(stream.as_bytes().chunks(1).map(Bytes::copy_from_slice).collect())
        }
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(followed_text(&events, "1.1"), UMLAUTS);
    assert_eq!(inlines(&blocks(&stage, "1.1")), [Inline::Text { text: UMLAUTS.to_owned() }]);
}

async fn an_answer_cut_for_lack_of_room_is_continued(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("1.1", 1) => Reply::Cut("The press was made of wood and then".to_owned()),
        ("1.1", 2) => Reply::says("of wood and then of iron."),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    let text = "The press was made of wood and then of iron.".to_owned();
    assert_eq!(inlines(&blocks(&stage, "1.1")), [Inline::Text { text }]);
}

async fn the_first_part_of_a_cut_answer_is_not_bought_twice(backend: Backend) {
    const FIRST: &str = "The press was made of wood and then";
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("1.1", 1) => Reply::Cut(FIRST.to_owned()),
        ("1.1", 2) => Reply::Refuses(503, None),
        ("1.1", 3) => Reply::says("of wood and then of iron."),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let text = "The press was made of wood and then of iron.".to_owned();
    assert_eq!(inlines(&blocks(&stage, "1.1")), [Inline::Text { text }]);
    assert!(followed_text(&events, "1.1").starts_with(FIRST));
    let model = stage.model.as_ref().unwrap();
    assert_eq!(model.calls("1.1"), 3);
    let requests = model.requests();
    // After the outline: the first part, and twice the rest.
    for number in [2, 3] {
        assert_eq!(requests[number]["messages"][2]["content"], FIRST);
    }
}

async fn citations_are_kept_and_made_up_ones_are_asked_for_again(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("1.1", 1) => Reply::says("Paper is old [S9 p. 3]. It was made of rags [S1]."),
        ("1.1", _) => Reply::says("It was made of rags [S2]."),
        ("1.2", _) => Reply::says("Wood came later [S1] [S7]."),
        _ => willing(asked, number),
    });
    let press = Arc::new(FixedPress::pages(6));
    let mut stage = Stage::openai(backend, model.await).await;
    stage.press = press.clone();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    assert_eq!(stage.model.as_ref().unwrap().calls("1.1"), 2);
    assert_eq!(followed_text(&events, "1.1"), "It was made of rags [S2].");
    let cited: Vec<String> =
        blocks(&stage, "1.1").iter().flat_map(Block::cites).map(|cite| cite.source.clone()).collect();
    assert_eq!(cited, ["source-keeping-books-and-paper.txt"]);
    // A second try with made-up markers is taken without them.
    assert_eq!(stage.model.as_ref().unwrap().calls("1.2"), 2);
    let text = serde_json::to_string(&blocks(&stage, "1.2")).unwrap();
    assert!(!text.contains("S7"), "{text}");
    let books = press.books.lock().unwrap();
    let references: Vec<&str> = books[0].references.iter().map(|reference| reference.text.as_str()).collect();
    assert_eq!(references, ["keeping-books-and-paper.txt", "from-sheet-to-page.md"]);
}

async fn an_outline_that_cannot_be_read_is_mended_once(backend: Backend) {
    let model = FakeModel::start(|asked, number| match (asked, number) {
        ("outline", 1) => Reply::says("Gladly! First, a chapter on paper."),
        _ => willing(asked, number),
    });
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    assert_whole(&service.events(&job_id, 0).await, 1, "completed");
    assert_eq!(stage.model.as_ref().unwrap().calls("outline"), 2);
}

async fn two_bad_outlines_end_the_job(backend: Backend) {
    let model = FakeModel::start(|_, _| Reply::says("I would rather not."));
    let stage = Stage::openai(backend, model.await).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "failed");
    assert_eq!(of_kind(&events, "failed")[0]["reason"], "no_outline");
}

async fn sections_know_the_outline_and_what_is_written_before(backend: Backend) {
    let stage = Stage::openai(backend, FakeModel::start(willing).await).await.in_order();
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.events(&job_id, 0).await;
    let requests = stage.model.as_ref().unwrap().requests();
    assert_eq!(requests.len(), 1 + KEYS.len());
    assert!(OUTLINE.contains("Oil"));
    let last = requests[4]["messages"][1]["content"].as_str().unwrap();
    for part in ["Paper and ink", "2.2 Oil", "1.1: The text of section 1.1.", "[S1] ", "about 322 words"] {
        assert!(last.contains(part), "{part} is missing in {last}");
    }
    assert_eq!(requests[4]["stream_options"]["include_usage"], true);
}
