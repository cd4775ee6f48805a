//! A provider that repeats everything many times at once, while somebody else floods the webhook with forgeries.

use std::collections::BTreeMap;

use fastrand::Rng;
use quire_sandbox::signature;
use quire_testkit::Backend;
use tokio::task::JoinSet;

use crate::provider::{Told, now, signed};
use crate::system::System;
use crate::wait::eventually;

quire_testkit::on_both_databases!(a_storm_of_deliveries_is_answered_and_starts_each_job_once);

const ORDERS: usize = 8;
const KINDS: [&str; 3] = ["charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"];
/// More from one address than any limit lets through at once.
const COPIES: usize = 30;
const FORGERIES: usize = 150;

/// A28, on a small scale: the limits are those of an installation without settings.
async fn a_storm_of_deliveries_is_answered_and_starts_each_job_once(backend: Backend) {
    let limits = [("QUIRE_LIMIT_API", "1200/minute burst 240"), ("QUIRE_LIMIT_CHECKOUT", "20/minute")];
    let system = System::start(backend, &limits).await;
    let ada = system.sign_in("ada@example.org").await;
    let mut deliveries = Vec::new();
    for number in 0..ORDERS {
        let document = ada.short_document().await;
        let order = ada.checkout(&document).await;
        for kind in KINDS {
            let event = format!("evt_{kind}_{number}");
            let body = Told { event: &event, kind, order: &order }.body();
            deliveries.extend((0..COPIES).map(|_| (body.clone(), signed(&body))));
        }
    }
    let genuine = deliveries.len();
    let forged = deliveries[0].0.clone();
    deliveries.extend((0..FORGERIES).map(|number| {
        (forged.clone(), signature::sign(&format!("whsec_of_a_forger_{number}"), now(), &forged))
    }));
    Rng::with_seed(28).shuffle(&mut deliveries);

    let mut flying = JoinSet::new();
    for (body, signature) in deliveries {
        let client = system.client.clone();
        flying.spawn(async move {
            let answer = client.webhook(body, Some(&signature)).await;
            (answer.status.as_u16(), answer.header("x-quire-verdict").to_owned())
        });
    }
    let mut answers: BTreeMap<(u16, String), usize> = BTreeMap::new();
    for answer in flying.join_all().await {
        *answers.entry(answer).or_default() += 1;
    }
    let events = ORDERS * KINDS.len();
    let expected = [
        ((200, "accepted".to_owned()), events),
        ((200, "duplicate".to_owned()), genuine - events),
        ((400, String::new()), FORGERIES),
    ];
    assert_eq!(answers, BTreeMap::from(expected));

    let books = system.books().await;
    eventually("every order is delivered", || async {
        let delivered = books.orders().await.iter().filter(|order| order.status == "delivered").count();
        (delivered == ORDERS && books.waiting().await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(books.violations(&BTreeMap::new()).await, Vec::<String>::new());
    assert_eq!(books.jobs().await.len(), ORDERS);
    system.stop().await;
}
