//! Redis gives wrong answers: it remembers what never came, forgets what came, fails, is late, and hangs up. The
//! database decides all the same.

use std::collections::BTreeMap;

use fastrand::Rng;
use quire_testkit::{Backend, Lie, LyingRedis};

use crate::customer::text;
use crate::provider::Told;
use crate::system::System;
use crate::wait::eventually;
use crate::webhook::deliver;

quire_testkit::on_both_databases!(a_redis_that_lies_changes_nothing);

const ORDERS: usize = 4;
const KINDS: [&str; 3] = ["charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"];
/// Deliveries of each event.
const COPIES: usize = 4;
const SEED: u64 = 11;

async fn a_redis_that_lies_changes_nothing(backend: Backend) {
    let Some(redis) = quire_testkit::redis() else { return };
    let liar = LyingRedis::start(redis, SEED).await;
    let system = System::start(backend, &[("REDIS_URL", liar.url())]).await;
    let ada = system.sign_in("ada@example.org").await;
    let mut orders = Vec::new();
    for _ in 0..ORDERS {
        orders.push(ada.checkout(&ada.short_document().await).await);
    }
    let mut dice = Rng::with_seed(SEED);
    let mut stored = 0;
    // New events each time: only a new one is remembered, and is lost if it is taken for one that was seen.
    while stored == 0 || Lie::ALL.iter().any(|lie| liar.told(*lie) == 0) {
        let mut bodies = Vec::new();
        for order in &orders {
            for kind in KINDS {
                let event = format!("evt_{kind}_{stored}_{}", text(&order["id"]));
                bodies.push(Told { event: &event, kind, order }.body());
            }
        }
        let events = bodies.len();
        let mut verdicts = Vec::new();
        for _ in 0..COPIES {
            dice.shuffle(&mut bodies);
            verdicts.extend(deliver(&system, bodies.clone()).await);
        }
        let count = |word: &str| verdicts.iter().filter(|verdict| *verdict == word).count();
        let expected = (events, events * (COPIES - 1));
        assert_eq!((count("accepted"), count("duplicate")), expected, "{verdicts:?}");
        stored += events;
    }

    let books = system.books().await;
    eventually("every order is delivered", || async {
        let delivered = books.orders().await.iter().filter(|order| order.status == "delivered").count();
        (delivered == ORDERS && books.waiting().await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(books.violations(&BTreeMap::new()).await, Vec::<String>::new());
    assert_eq!(books.jobs().await.len(), ORDERS);
    assert_eq!(books.events().await.len(), stored);
    system.stop().await;
}
