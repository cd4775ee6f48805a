//! Whatever refunds a payment has, and in whatever order and number their events come: the books end where the provider
//! ends.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use quire_testkit::Backend;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::events::{charge_event, intent_event, refund_event};
use crate::ledger::{balance, balances, count};
use crate::stage::{Server, Stage};

/// Payments that are drawn.
const CASES: u32 = 25;
const PRICE: i64 = 600;

quire_testkit::on_both_databases!(the_books_end_where_the_provider_ends);

/// How a refund goes on after it was made.
#[derive(Debug, Clone, Copy)]
enum Fate {
    AtOnce,
    Later,
    /// It is pending for a while and then fails.
    Refused,
    /// It succeeds, and days later the bank sends it back.
    SentBack,
}

/// Refunds in the order in which they are made, and where each event comes in the end.
#[derive(Debug, Clone)]
struct Story {
    refunds: Vec<(i64, Fate)>,
    /// Sorts the events; as many as there can be.
    places: Vec<u32>,
    /// Which events come twice.
    again: Vec<bool>,
}

fn story() -> impl Strategy<Value = Story> {
    let fate = prop_oneof![
        3 => Just(Fate::AtOnce),
        2 => Just(Fate::Later),
        1 => Just(Fate::Refused),
        1 => Just(Fate::SentBack),
    ];
    let refunds = prop::collection::vec((1..=300_i64, fate), 1..=5);
    let places = prop::collection::vec(any::<u32>(), 64);
    (refunds, places, prop::collection::vec(any::<bool>(), 64)).prop_map(|(refunds, places, again)| Story {
        refunds,
        places,
        again,
    })
}

/// The provider: what it tells of a story, in its own order, and what is back at its end.
fn tell(story: &Story, round: usize, order: &quire_proto::payment::v1::Order) -> (Vec<Value>, i64) {
    let payment = format!("pi_{round}");
    let mut events = vec![
        intent_event("", "payment_intent.succeeded", order, &payment),
        charge_event("", "charge.succeeded", order, &payment, 0),
    ];
    let (mut total, mut made) = (0, 0);
    let mut unfinished = Vec::new();
    for (place, &(wanted, fate)) in story.refunds.iter().enumerate() {
        let amount = wanted.min(PRICE - total);
        if amount < 1 {
            continue;
        }
        made += 1;
        total += amount;
        let refund = format!("re_{round}_{place}");
        let status = if matches!(fate, Fate::AtOnce | Fate::SentBack) { "succeeded" } else { "pending" };
        events.push(refund_event("", "refund.created", &payment, &refund, (amount, status)));
        events.push(charge_event("", "charge.refunded", order, &payment, total));
        unfinished.push((refund, amount, fate));
        // The one before comes to its end while this one is under way.
        if made > 1 {
            let first = unfinished.remove(0);
            total -= end(&mut events, &payment, first);
        }
    }
    for last in unfinished {
        total -= end(&mut events, &payment, last);
    }
    for (place, event) in events.iter_mut().enumerate() {
        event["id"] = json!(format!("evt_{round}_{place}"));
    }
    (events, total)
}

/// Tells how a refund ends. Answers how much of it the merchant has again.
fn end(events: &mut Vec<Value>, payment: &str, (refund, amount, fate): (String, i64, Fate)) -> i64 {
    let told = |kind: &str, status| refund_event("", kind, payment, &refund, (amount, status));
    match fate {
        Fate::AtOnce => 0,
        Fate::Later => {
            events.push(told("refund.updated", "succeeded"));
            events.push(told("charge.refund.updated", "succeeded"));
            0
        }
        Fate::Refused | Fate::SentBack => {
            events.push(told("refund.failed", "failed"));
            events.push(told("refund.updated", "failed"));
            amount
        }
    }
}

async fn the_books_end_where_the_provider_ends(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let round = std::cell::Cell::new(0);
    let outcome = tokio::task::block_in_place(|| {
        runner.run(&story(), |story| {
            round.set(round.get() + 1);
            Handle::current().block_on(play(&stage, &server, round.get(), &story))
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(balances(&stage).await.iter().all(|sum| *sum == 0));
    assert_eq!(count(&stage, "inbox_events WHERE status <> 'done'").await, 0);
}

async fn play(stage: &Stage, server: &Server, round: usize, story: &Story) -> Result<(), TestCaseError> {
    let order = stage.checkout(&server.client, &format!("document {round}")).await.unwrap();
    let before = balance(stage, "provider").await;
    let (events, total) = tell(story, round, &order);
    let mut told: Vec<(u32, &Value)> = Vec::new();
    for (place, event) in events.iter().enumerate() {
        told.push((story.places[place], event));
        if story.again[place] {
            told.push((story.places[63 - place], event));
        }
    }
    told.sort_by_key(|(place, _)| *place);
    for (_, event) in told {
        stage.deliver(&server.client, event).await.unwrap();
    }
    let order = stage.order(&server.client, &order.id).await;
    prop_assert_eq!(order.refunded.unwrap().amount_minor, total);
    prop_assert_eq!(balance(stage, "provider").await - before, PRICE - total);
    Ok(())
}
