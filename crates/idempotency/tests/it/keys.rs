//! Who gets which answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use quire_idempotency::{Call, IdempotencyError};
use quire_testkit::Backend;

use crate::stage::{Failure, Stage, call, told};

quire_testkit::on_both_databases!(
    the_first_answer_is_given_again,
    another_request_under_the_key_is_refused,
    callers_and_routes_do_not_share_keys,
    without_a_key_everything_is_done,
    fifty_at_once_do_the_work_once,
    a_failure_frees_the_key_for_the_same_request,
    old_keys_are_forgotten,
);

async fn the_first_answer_is_given_again(backend: Backend) {
    let stage = Stage::new(backend).await;
    assert_eq!(
        told(stage.answer(call("key", "a cake"), "a cake with cherries").await),
        ("a cake with cherries".to_owned(), false)
    );
    for keys in &stage.keys {
        let again = keys
            .run(call("key", "a cake"), async |_| -> Result<String, Failure> { unreachable!("it is known") });
        assert_eq!(told(again.await), ("a cake with cherries".to_owned(), true));
    }
    // Nothing at all is an answer too.
    assert_eq!(told(stage.answer(call("other", "silence"), "").await), (String::new(), false));
    assert_eq!(told(stage.answer(call("other", "silence"), "noise").await), (String::new(), true));
    let long = "ä\0".repeat(10_000);
    assert_eq!(told(stage.answer(call("long", "much"), &long).await), (long.clone(), false));
    assert_eq!(told(stage.answer(call("long", "much"), "").await), (long, true));
}

async fn another_request_under_the_key_is_refused(backend: Backend) {
    let stage = Stage::new(backend).await;
    stage.answer(call("key", "a cake"), "a cake").await.unwrap();
    let other = stage.answer(call("key", "two cakes"), "two cakes").await;
    assert!(matches!(other, Err(Failure::Keys(IdempotencyError::OtherRequest))));
    assert_eq!(told(stage.answer(call("key", "a cake"), "").await), ("a cake".to_owned(), true));
    assert_eq!(stage.rows().await, 1);
}

async fn callers_and_routes_do_not_share_keys(backend: Backend) {
    let stage = Stage::new(backend).await;
    let request = "a cake".to_owned();
    for (place, (caller, route)) in
        [("ada", "make"), ("eve", "make"), ("ada", "eat"), ("adam", "ake")].into_iter().enumerate()
    {
        let answer = format!("answer {place}");
        let own = Call::new(caller, route, "key", &request);
        assert_eq!(told(stage.answer(own.clone(), &answer).await), (answer.clone(), false));
        assert_eq!(told(stage.answer(own, "").await), (answer, true));
    }
    assert_eq!(stage.rows().await, 4);
}

async fn without_a_key_everything_is_done(backend: Backend) {
    let stage = Stage::new(backend).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = stage.keys[0].run(call("", "a cake"), async |id| Ok::<_, Failure>(id)).await.unwrap();
        assert!(!answer.replayed);
        ids.push(answer.message);
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!(stage.rows().await, 0);
}

async fn fifty_at_once_do_the_work_once(backend: Backend) {
    let stage = Stage::new(backend).await;
    let done = Arc::new(AtomicUsize::new(0));
    let calls = (0..50).map(|place| {
        let done = done.clone();
        stage.keys[place % 2].run(call("key", "a cake"), async move |id| {
            done.fetch_add(1, Ordering::SeqCst);
            // Others come while this one works.
            tokio::task::yield_now().await;
            Ok::<_, Failure>(id)
        })
    });
    let mut answers = Vec::new();
    for outcome in join_all(calls).await {
        match outcome {
            Ok(answer) => answers.push(answer),
            Err(Failure::Keys(IdempotencyError::InUse { retry_after })) => {
                assert!(!retry_after.is_zero() && retry_after <= Duration::from_secs(5), "{retry_after:?}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(done.load(Ordering::SeqCst), 1);
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.message == answers[0].message));
    assert_eq!(stage.rows().await, 1);
}

async fn a_failure_frees_the_key_for_the_same_request(backend: Backend) {
    let stage = Stage::new(backend).await;
    let (saw, mut ids) = tokio::sync::mpsc::unbounded_channel();
    for place in 0..3 {
        let saw = saw.clone();
        let outcome = stage.keys[place % 2].run(call("key", "a cake"), async move |id| {
            saw.send(id).unwrap();
            if place < 2 { Err(Failure::Work) } else { Ok("a cake".to_owned()) }
        });
        assert_eq!(matches!(outcome.await, Err(Failure::Work)), place < 2);
    }
    drop(saw);
    // What an earlier try made before it failed can be found: the id is the same.
    let first = ids.recv().await.unwrap();
    for _ in 0..2 {
        assert_eq!(ids.recv().await.unwrap(), first);
    }
    assert_eq!(told(stage.answer(call("key", "a cake"), "").await), ("a cake".to_owned(), true));
}

async fn old_keys_are_forgotten(backend: Backend) {
    let stage = Stage::new(backend).await;
    stage.answer(call("old", "a cake"), "yesterday's").await.unwrap();
    stage.clock.advance(Duration::from_secs(3600));
    stage.answer(call("young", "a cake"), "today's").await.unwrap();
    stage.keys[1].prune(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(stage.rows().await, 2, "exactly as old as they may be");
    stage.clock.advance(Duration::from_secs(1));
    stage.keys[1].prune(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(told(stage.answer(call("young", "a cake"), "").await), ("today's".to_owned(), true));
    assert_eq!(told(stage.answer(call("old", "another"), "new").await), ("new".to_owned(), false));
}
