//! One short document by a real model, where the surroundings name one.

use std::time::Duration;

use quire_background_job::ModelSettings;
use quire_clock::World;
use quire_manuscript::Block;
use quire_testkit::Backend;

use crate::model::{FakeModel, willing};
use crate::stage::{Stage, assert_whole, followed_text, of_kind};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_model_writes_a_short_document() {
    let Some(real) = quire_testkit::real_model() else { return };
    let stage = Stage::openai(Backend::Sqlite, FakeModel::start(willing).await).await;
    let start = stage.start_with(World::system(), |config| {
        config.models.openai = Some(ModelSettings {
            base_url: real.url.parse().unwrap(),
            model: real.model.clone(),
            api_key: real.api_key.clone().map(Into::into),
        });
        config.models.prices = format!("{}=1/1", real.model).parse().unwrap();
        // A model on a small machine reads long before it says a word.
        config.models.silence = Duration::from_secs(600);
    });
    let mut service = start.await;
    let job_id = service.start_paid().await;
    let events = service.events(&job_id, 0).await;
    assert_whole(&events, 1, "completed");
    let sections = of_kind(&events, "section_done");
    assert!(!sections.is_empty());
    let told = stage.document.told.lock().unwrap().sections.clone();
    for section in &sections {
        let key = section["key"].as_str().unwrap();
        assert_eq!(section["writer"], real.model);
        assert!(!followed_text(&events, key).trim().is_empty(), "section {key} has no text");
        let sent = told.iter().find(|sent| sent.key == key).unwrap();
        let blocks: Vec<Block> = serde_json::from_str(&sent.blocks_json).unwrap();
        assert!(!blocks.is_empty(), "section {key} has no blocks");
    }
    let calls = stage.rows("cost_ledger", &["status", "output_tokens"], "started_at, id").await;
    assert!(calls.len() > sections.len(), "{calls:?}");
    assert!(calls.iter().all(|call| call[1] != "0"), "{calls:?}");
    assert_eq!(stage.model.as_ref().unwrap().all_calls(), 0);
}
