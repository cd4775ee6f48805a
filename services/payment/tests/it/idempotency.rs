//! Idempotency keys: the same call again gets the first answer, and a lost provider answer is no second session.

use std::time::Duration;

use futures::future::join_all;
use quire_fault::{Fault, Kind, Rule};
use quire_proto::payment::v1 as pb;
use quire_sandbox::{Behaviour, WriteFault, WriteFaults};
use quire_testkit::Backend;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::{Response, Status};

use crate::ledger::{balance, count, tamper};
use crate::sabotage::Panics;
use crate::settle::{paid_order, settle_as};
use crate::stage::{Client, Stage};

quire_testkit::on_both_databases!(
    the_same_call_under_the_same_key_gets_the_first_answer,
    a_key_belongs_to_its_caller_and_to_its_call,
    twenty_at_once_under_one_key_make_one_thing,
    a_failure_leaves_the_key_free,
    keys_that_are_no_keys_are_refused_by_name,
    a_checkout_whose_process_died_goes_on_under_its_key,
    a_refund_request_whose_answer_was_not_kept_is_found_again,
    an_answer_of_the_provider_that_is_lost_makes_no_second_session,
    a_refund_whose_answer_was_lost_a_day_ago_is_looked_up,
);

/// What was answered, and whether it says that it is a repetition.
type Told<T> = Result<(T, bool), Fault>;

fn told<T>(answer: Result<Response<T>, Status>) -> Told<T> {
    match answer {
        Ok(answer) => {
            let replayed = answer.metadata().get("idempotency-replayed").map(|value| value.to_str().unwrap());
            assert!(matches!(replayed, None | Some("true")), "{replayed:?}");
            let replayed = replayed.is_some();
            Ok((answer.into_inner(), replayed))
        }
        Err(status) => Err(Fault::from(&status)),
    }
}

/// One of the three calls that take keys, for one user.
#[derive(Clone, Copy)]
enum Route {
    Checkout,
    Intent,
    Refund,
}

impl Route {
    const ALL: [Self; 3] = [Self::Checkout, Self::Intent, Self::Refund];

    /// Calls it. `what` is the document, or the order of which a euro is wanted back. Answers the id of what was made.
    async fn call(self, stage: &Stage, client: &Client, user: &str, key: &str, what: &str) -> Told<String> {
        let mut client = client.clone();
        let (what, idempotency_key) = (what.to_owned(), key.to_owned());
        match self {
            Self::Checkout => {
                let message = pb::CreateCheckoutRequest { document_id: what, idempotency_key };
                let answer = told(client.create_checkout(stage.as_user(user, message)).await);
                answer.map(|(answer, replayed)| (answer.order.unwrap().id, replayed))
            }
            Self::Intent => {
                let message = pb::CreateIntentRequest { document_id: what, idempotency_key };
                let answer = told(client.create_intent(stage.as_user(user, message)).await);
                answer.map(|(answer, replayed)| {
                    assert!(!answer.client_secret.is_empty());
                    (answer.order.unwrap().id, replayed)
                })
            }
            Self::Refund => {
                let message = pb::RequestRefundRequest {
                    order_id: what,
                    amount_minor: Some(100),
                    reason: "wasps".to_owned(),
                    idempotency_key,
                };
                let answer = told(client.request_refund(stage.as_user(user, message)).await);
                answer.map(|(answer, replayed)| (answer.refund.unwrap().id, replayed))
            }
        }
    }

    /// Where the things that it makes are.
    fn table(self) -> &'static str {
        match self {
            Self::Checkout => "orders WHERE method = 'checkout' AND document_id <> 'document'",
            Self::Intent => "orders WHERE method = 'intent'",
            Self::Refund => "refunds",
        }
    }
}

/// What a route can be called about: two documents, or the same paid order twice.
async fn subjects(stage: &Stage, client: &Client, route: Route) -> [String; 2] {
    match route {
        Route::Checkout => ["one", "two"].map(str::to_owned),
        Route::Intent => ["three", "four"].map(str::to_owned),
        Route::Refund => {
            let order = paid_order(stage, client).await;
            let other = stage.checkout(client, "other").await.unwrap();
            [order.id, other.id]
        }
    }
}

async fn the_same_call_under_the_same_key_gets_the_first_answer(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = [stage.start().await, stage.start().await];
    let client = &servers[0].client;
    for route in Route::ALL {
        let [one, two] = subjects(&stage, client, route).await;
        let first = route.call(&stage, client, "ada", "key-1", &one).await.unwrap();
        assert!(!first.1);
        // Another process knows it too.
        let again = route.call(&stage, &servers[1].client, "ada", "key-1", &one).await.unwrap();
        assert_eq!(again, (first.0.clone(), true));
        let other = route.call(&stage, client, "ada", "key-1", &two).await.unwrap_err();
        assert_eq!((other.kind, other.kind.http().as_u16()), (Kind::Invalid, 422));
        assert_eq!(other.violations[0].field, "idempotency_key");
        let without = route.call(&stage, client, "ada", "", &one).await.unwrap();
        assert!(!without.1);
        let third = route.call(&stage, client, "ada", "key-1", &one).await.unwrap();
        assert_eq!(third, (first.0, true));
    }
    // Without a key a second wish is a second wish.
    assert_eq!(count(&stage, "refunds").await, 2);
    assert_eq!(count(&stage, "idempotency_keys").await, 3);
}

async fn a_key_belongs_to_its_caller_and_to_its_call(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let ada = Route::Checkout.call(&stage, client, "ada", "key-1", "of ada").await.unwrap();
    let eve = Route::Checkout.call(&stage, client, "eve", "key-1", "of eve").await.unwrap();
    let intent = Route::Intent.call(&stage, client, "ada", "key-1", "by intent").await.unwrap();
    assert_eq!([ada.1, eve.1, intent.1], [false; 3]);
    assert_ne!(ada.0, eve.0);
    assert_ne!(ada.0, intent.0);
    // What eve gets under her key is hers.
    let eve_again = Route::Checkout.call(&stage, client, "eve", "key-1", "of eve").await.unwrap();
    assert_eq!(eve_again, (eve.0, true));
    let stolen = Route::Checkout.call(&stage, client, "eve", "key-1", "of ada").await.unwrap_err();
    assert_eq!(stolen.kind, Kind::Invalid);
}

async fn twenty_at_once_under_one_key_make_one_thing(backend: Backend) {
    let stage = Stage::new(backend).await;
    let servers = [stage.start().await, stage.start().await];
    for route in Route::ALL {
        let [one, _] = subjects(&stage, &servers[0].client, route).await;
        let before = count(&stage, route.table()).await;
        let calls =
            (0..20).map(|place| route.call(&stage, &servers[place % 2].client, "ada", "key-at-once", &one));
        let mut firsts = 0;
        let mut ids = Vec::new();
        for answer in join_all(calls).await {
            match answer {
                Ok((id, replayed)) => {
                    firsts += usize::from(!replayed);
                    ids.push(id);
                }
                Err(fault) => {
                    assert_eq!(
                        (fault.kind, fault.reason.as_str(), fault.kind.http().as_u16()),
                        (Kind::Conflict, "IDEMPOTENCY_KEY_IN_USE", 409)
                    );
                    assert!(fault.retry_after.is_some());
                }
            }
        }
        assert_eq!(firsts, 1);
        ids.dedup();
        assert_eq!(ids.len(), 1);
        assert_eq!(count(&stage, route.table()).await, before + 1);
    }
}

async fn a_failure_leaves_the_key_free(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let client = &server.client;
    let refusal = Fault::new(Kind::Precondition, "NO_SOURCES", "the document has no sources");
    for route in [Route::Checkout, Route::Intent] {
        stage.change_peers(|book| book.refusal = Some(refusal.clone()));
        for _ in 0..2 {
            let fault = route.call(&stage, client, "ada", "key-1", "a document").await.unwrap_err();
            assert_eq!(fault, refusal);
        }
        stage.change_peers(|book| book.refusal = None);
        let first = route.call(&stage, client, "ada", "key-1", "a document").await.unwrap();
        assert!(!first.1);
        let again = route.call(&stage, client, "ada", "key-1", "a document").await.unwrap();
        assert_eq!(again, (first.0, true));
    }
    let open = stage.checkout(client, "document").await.unwrap();
    let fault = Route::Refund.call(&stage, client, "ada", "key-1", &open.id).await.unwrap_err();
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Conflict, "ORDER_NOT_REFUNDABLE"));
    stage.pay(&open).await;
    stage.sandbox.drained().await;
    assert!(!Route::Refund.call(&stage, client, "ada", "key-1", &open.id).await.unwrap().1);
}

async fn keys_that_are_no_keys_are_refused_by_name(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    for route in Route::ALL {
        for key in ["two words", "é", "tab\t", "nul\0", &"k".repeat(256)] {
            let fault = route.call(&stage, &server.client, "ada", key, "what").await.unwrap_err();
            assert_eq!(fault.violations[0].field, "idempotency_key", "{key}");
            assert!(matches!(fault.violations[0].rule, Rule::Value(_)), "{fault:?}");
        }
    }
    assert_eq!(count(&stage, "idempotency_keys").await, 0);
    assert_eq!(count(&stage, "orders").await, 0);
    let longest = "k".repeat(255);
    Route::Checkout.call(&stage, &server.client, "ada", &longest, "what").await.unwrap();
}

/// A provider that takes every call and answers none; and whether it was asked to make something.
async fn silent_provider() -> (String, watch::Receiver<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, asked) = watch::channel(false);
    let router = axum::Router::new().fallback(async move |method: axum::http::Method| {
        if method == axum::http::Method::POST {
            sender.send_replace(true);
        }
        std::future::pending::<()>().await;
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, asked)
}

async fn a_checkout_whose_process_died_goes_on_under_its_key(backend: Backend) {
    let stage = Stage::new(backend).await;
    for route in [Route::Checkout, Route::Intent] {
        let document = "a document";
        let (silent, mut asked) = silent_provider().await;
        let server = stage.start_with(&[("QUIRE_STRIPE_URL", &silent)]).await;
        let call = route.call(&stage, &server.client, "ada", "key-1", document);
        tokio::select! {
            answer = call => panic!("it was answered: {answer:?}"),
            asked = asked.wait_for(|asked| *asked) => drop(asked.unwrap()),
        }
        server.crash();
        let server = stage.start().await;
        let client = &server.client;
        let fault = route.call(&stage, client, "ada", "key-1", document).await.unwrap_err();
        assert_eq!(fault.reason, "IDEMPOTENCY_KEY_IN_USE");
        // Who had it is given up after its lease, by the clock of the database.
        tamper(&stage, "UPDATE idempotency_keys SET lease_until = lease_until - 46000000").await;
        let taken = route.call(&stage, client, "ada", "key-1", document).await.unwrap();
        assert!(!taken.1);
        let again = route.call(&stage, client, "ada", "key-1", document).await.unwrap();
        assert_eq!(again, (taken.0.clone(), true));
        assert_eq!(count(&stage, &format!("{} AND status = 'open'", route.table())).await, 1);
        stage.forget_servers();
        // The next route sells the same document.
        tamper(&stage, "DELETE FROM orders").await;
    }
    // The second server had found the order of the first: the document service was asked once for each.
    assert_eq!(stage.book.borrow().prepared.len(), 2);
    assert_eq!(stage.provider("/v1/checkout/sessions").await["data"].as_array().unwrap().len(), 1);
}

async fn a_refund_request_whose_answer_was_not_kept_is_found_again(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    let order = paid_order(&stage, &server.client).await;
    let first = Route::Refund.call(&stage, &server.client, "ada", "key-1", &order.id).await.unwrap();
    // As if the process had died between the work and the note about it.
    tamper(&stage, "UPDATE idempotency_keys SET response = NULL, lease_until = 0").await;
    let again = Route::Refund.call(&stage, &server.client, "ada", "key-1", &order.id).await.unwrap();
    assert_eq!(again, (first.0.clone(), false));
    let third = Route::Refund.call(&stage, &server.client, "ada", "key-1", &order.id).await.unwrap();
    assert_eq!(third, (first.0, true));
    assert_eq!(count(&stage, "refunds").await, 1);
}

async fn an_answer_of_the_provider_that_is_lost_makes_no_second_session(backend: Backend) {
    let stage = Stage::new(backend).await;
    let server = stage.start().await;
    for (path, route, document) in
        [("/v1/checkout/sessions", Route::Checkout, "one"), ("/v1/payment_intents", Route::Intent, "two")]
    {
        let path = Some(path.to_owned());
        stage.sandbox.set_write_faults(WriteFaults { writes: 1, fault: WriteFault::LostAnswer, path });
        let order = route.call(&stage, &server.client, "ada", "", document).await.unwrap();
        let again = route.call(&stage, &server.client, "ada", "", document).await.unwrap();
        assert_eq!(again, order);
    }
    let made = async |path: &str| stage.provider(path).await["data"].as_array().unwrap().len();
    assert_eq!(made("/v1/checkout/sessions").await, 1);
    assert_eq!(made("/v1/payment_intents").await, 1);

    // A failure that the provider has stored under the key is not asked for again for ever.
    let path = Some("/v1/checkout/sessions".to_owned());
    stage.sandbox.set_write_faults(WriteFaults { writes: 1, fault: WriteFault::StoredError, path });
    let fault = Route::Checkout.call(&stage, &server.client, "ada", "", "three").await.unwrap_err();
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Unavailable, "PROVIDER_UNAVAILABLE"));
    let order = stage.checkout(&server.client, "three").await.unwrap();
    assert!(!order.checkout_url.is_empty());
    assert_eq!(made("/v1/checkout/sessions").await, 2);
}

/// The provider has forgotten the key by then: the same post would be a second refund.
async fn a_refund_whose_answer_was_lost_a_day_ago_is_looked_up(backend: Backend) {
    let stage = Stage::new(backend).await;
    // The relay breaks as soon as the provider has answered, and with it the whole process.
    let server = stage.start().await;
    let order = paid_order(&stage, &server.client).await;
    server.crash();
    stage.forget_servers();
    stage.sandbox.set_behaviour(Behaviour { hold: true, ..Behaviour::default() });
    let breaking = Panics::within(&stage.world, "payment.relay.sent", 1);
    let server = stage.start_unreached(breaking, &[]).await;
    // Half of the pages came, so that a second refund of the other half would still fit.
    let message = pb::SettleOrderRequest {
        order_id: order.id.clone(),
        job_id: format!("job-of-{}", order.id),
        outcome: pb::JobOutcome::Cancelled.into(),
        delivered_pages: 6,
    };
    // The process may be gone before it has answered.
    let _ = settle_as(&stage, &server.client, message).await;
    stage
        .until("the provider was asked", async || {
            !stage.provider("/v1/refunds").await["data"].as_array().unwrap().is_empty()
        })
        .await;
    server.crash();
    stage.clock.advance(Duration::from_secs(25 * 3600));
    tamper(&stage, "UPDATE outbox SET lease_until = 0, next_at = 0 WHERE done_at IS NULL").await;
    let server = stage.start().await;
    let refunded = |order: &pb::Order| order.refunded.as_ref().unwrap().amount_minor == 300;
    let order = stage.order_is(&server.client, &order.id, refunded).await;
    assert_eq!(order.status(), pb::OrderStatus::Delivered);
    stage.until("the task is done", async || count(&stage, "outbox WHERE done_at IS NULL").await == 0).await;
    let made = stage.provider("/v1/refunds").await;
    assert_eq!(made["data"].as_array().unwrap().len(), 1);
    assert_eq!(balance(&stage, "provider").await, 300);
    // Its events come at last.
    stage.sandbox.set_behaviour(Behaviour::default());
    stage.sandbox.drained().await;
    assert_eq!(balance(&stage, "provider").await, 300);
    assert_eq!(count(&stage, "refunds").await, 1);
}
