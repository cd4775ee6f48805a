//! Random histories of a few jobs against a small model: whatever is asked, refused, killed and restarted in whatever
//! order, every job follows the table of states, nothing is written or settled twice, and nothing is left lying about.
//!
//! `QUIRE_TEST_HISTORIES` says how many histories are drawn, `QUIRE_TEST_SEED` from which number. A failure prints the
//! seed and the shortest history that was found to fail.

mod author;
mod books;
mod machine;
mod promises;
mod run;
mod step;

use std::time::Duration;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use quire_testkit::Backend;
use tokio::runtime::Handle;

use crate::stage::setting;
use run::Run;
use step::Step;

quire_testkit::on_both_databases!(
    random_histories_keep_every_promise,
    a_short_history_comes_by_every_kind_of_end,
);

/// Histories that are drawn unless told otherwise.
const HISTORIES: u64 = 6;
/// No step takes so long; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn random_histories_keep_every_promise(backend: Backend) {
    let seed = setting("QUIRE_TEST_SEED", 1);
    let cases = u32::try_from(setting("QUIRE_TEST_HISTORIES", HISTORIES)).unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 60, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = tokio::task::block_in_place(|| {
        runner.run(&step::history(), |history| {
            Handle::current().block_on(play(backend, &history));
            Ok(())
        })
    });
    outcome.unwrap_or_else(|error| panic!("QUIRE_TEST_SEED={seed}: {error}"));
}

/// So that the histories above are known to reach each end.
async fn a_short_history_comes_by_every_kind_of_end(backend: Backend) {
    use step::Mood;
    let failed = [Step::Mood(Mood::Refuses), Step::Start(0), Step::End(0)];
    let others = [Step::Start(1), Step::Cancel(1), Step::End(1), Step::Start(2)];
    let steps = [&failed[..], &others].concat();
    let ends = play(backend, &steps).await;
    assert_eq!(ends, ["cancelled", "completed", "failed"].map(str::to_owned).into());
}

/// Plays a history, checks after each step and at rest. Gives the ends that its jobs came to.
async fn play(backend: Backend, history: &[Step]) -> std::collections::BTreeSet<String> {
    let mut run = Run::new(backend).await;
    for step in history {
        let applied = tokio::time::timeout(PATIENCE, run.apply(step)).await;
        applied.unwrap_or_else(|_| panic!("{step:?} does not come to an end"));
        run.check().await;
    }
    run.rest().await
}
