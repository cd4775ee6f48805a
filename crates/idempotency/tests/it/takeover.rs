//! A try that takes long, dies, breaks or is given up by its caller.

use quire_idempotency::IdempotencyError;
use quire_testkit::Backend;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::stage::{Failure, Stage, Told, call, told};

quire_testkit::on_both_databases!(
    while_the_first_try_runs_the_next_is_told_to_wait,
    a_try_that_died_is_taken_over_and_cannot_answer_any_more,
    a_try_that_breaks_is_an_error_and_not_an_answer,
    the_work_goes_on_when_its_caller_hangs_up,
);

/// A try that has begun and answers once it may: with the id that it was given, or what it is told.
struct Slow {
    answer: oneshot::Sender<String>,
    running: JoinHandle<Told>,
    id: String,
}

impl Slow {
    async fn begin(stage: &Stage) -> Self {
        let (began, begun) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let keys = stage.keys[0].clone();
        let running = tokio::spawn(async move {
            let work = async move |id| {
                began.send(id).unwrap();
                Ok::<String, Failure>(answered.await.unwrap())
            };
            keys.run(call("key", "a cake"), work).await
        });
        Self { answer, running, id: begun.await.unwrap() }
    }
}

fn is_in_use(told: &Told) -> bool {
    matches!(told, Err(Failure::Keys(IdempotencyError::InUse { .. })))
}

async fn while_the_first_try_runs_the_next_is_told_to_wait(backend: Backend) {
    let stage = Stage::new(backend).await;
    let slow = Slow::begin(&stage).await;
    for _ in 0..3 {
        assert!(is_in_use(&stage.answer(call("key", "a cake"), "too early").await));
    }
    // Another request is refused all the same, and another key is free.
    let other = stage.answer(call("key", "two cakes"), "").await;
    assert!(matches!(other, Err(Failure::Keys(IdempotencyError::OtherRequest))));
    stage.answer(call("another-key", "a cake"), "a cake").await.unwrap();
    slow.answer.send("the first".to_owned()).unwrap();
    assert_eq!(told(slow.running.await.unwrap()), ("the first".to_owned(), false));
    assert_eq!(told(stage.answer(call("key", "a cake"), "").await), ("the first".to_owned(), true));
}

async fn a_try_that_died_is_taken_over_and_cannot_answer_any_more(backend: Backend) {
    let stage = Stage::new(backend).await;
    let slow = Slow::begin(&stage).await;
    stage.end_leases().await;
    let taken = stage.keys[1].run(call("key", "a cake"), async |id| Ok::<_, Failure>(id)).await;
    // It was given the same id, to find what the first has made.
    assert_eq!(told(taken), (slow.id.clone(), false));
    // The first was only slow. Its caller hears it; the key keeps what the second said.
    slow.answer.send("too late".to_owned()).unwrap();
    assert_eq!(told(slow.running.await.unwrap()), ("too late".to_owned(), false));
    assert_eq!(told(stage.answer(call("key", "a cake"), "").await), (slow.id, true));
}

async fn a_try_that_breaks_is_an_error_and_not_an_answer(backend: Backend) {
    let stage = Stage::new(backend).await;
    let broken = stage.keys[0]
        .run(call("key", "a cake"), async |_| -> Result<String, Failure> { panic!("on purpose") })
        .await;
    assert!(matches!(broken, Err(Failure::Keys(IdempotencyError::Broken))));
    // Nobody knows what it had done: as if its process had died.
    assert!(is_in_use(&stage.answer(call("key", "a cake"), "too early").await));
    stage.end_leases().await;
    assert_eq!(told(stage.answer(call("key", "a cake"), "a cake").await), ("a cake".to_owned(), false));
}

async fn the_work_goes_on_when_its_caller_hangs_up(backend: Backend) {
    let stage = Stage::new(backend).await;
    let slow = Slow::begin(&stage).await;
    slow.running.abort();
    assert!(slow.running.await.unwrap_err().is_cancelled());
    slow.answer.send("nobody listens".to_owned()).unwrap();
    loop {
        let again = stage.answer(call("key", "a cake"), "again").await;
        if !is_in_use(&again) {
            assert_eq!(told(again), ("nobody listens".to_owned(), true));
            break;
        }
    }
}
