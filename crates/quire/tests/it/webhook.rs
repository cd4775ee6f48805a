//! The payment provider's webhook: however often and in whatever form a payment is told, it starts one job.

use quire_sandbox::{Behaviour, signature};
use quire_testkit::Backend;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::answer::Answer;
use crate::customer::{Customer, text};
use crate::provider::{Told, now, signed};
use crate::samples;
use crate::system::{OPERATOR, System, WEBHOOK_SECRET};

quire_testkit::on_both_databases!(
    sixty_deliveries_of_one_event_start_one_job,
    different_events_for_one_payment_start_one_job,
    a_provider_that_repeats_itself_starts_one_job,
    an_event_that_is_not_the_providers_starts_nothing,
    only_a_paid_order_or_an_operator_starts_a_job,
);

const DELIVERIES: usize = 60;

/// Delivers them all at the same time; the verdicts.
pub async fn deliver(system: &System, bodies: Vec<Vec<u8>>) -> Vec<String> {
    let mut deliveries = JoinSet::new();
    for body in bodies {
        let client = system.client.clone();
        deliveries.spawn(async move {
            let signature = signed(&body);
            let answer = client.webhook(body, Some(&signature)).await.with_status(200);
            assert_eq!(answer.json()["received"], true);
            assert_eq!(answer.json()["verdict"], answer.header("x-quire-verdict"));
            answer.header("x-quire-verdict").to_owned()
        });
    }
    deliveries.join_all().await
}

/// Follows the order's job to its end, and only then counts.
async fn one_job_and_one_paid_order(ada: &Customer, document: &str, order: &Value) {
    let order_id = text(&order["id"]);
    let job = ada.job_of(&order_id).await;
    let events = ada.follow(&job, 0).await;
    assert_eq!(events.last().unwrap().kind, "completed", "{events:?}");
    assert_eq!(events.iter().filter(|event| event.kind == "queued").count(), 1);
    let jobs = ada.jobs_of(document).await;
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!((&jobs[0]["id"], &jobs[0]["order_id"]), (&json!(job), &order["id"]));
    let orders = ada.get("/payment/orders").await.with_status(200).json();
    let orders: Vec<&Value> = orders["orders"].as_array().unwrap().iter().collect();
    assert_eq!(orders.iter().filter(|one| one["document_id"] == document).count(), 1, "{orders:?}");
    let paid = ada.order(&order_id).await;
    assert!(paid["paid_at"].is_string(), "{paid}");
    assert!(["paid", "delivered"].contains(&paid["status"].as_str().unwrap()), "{paid}");
}

async fn sixty_deliveries_of_one_event_start_one_job(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let document = ada.short_document().await;
    let order = ada.checkout(&document).await;
    let body = Told { event: "evt_one", kind: "checkout.session.completed", order: &order }.body();
    let verdicts = deliver(&system, vec![body.clone(); DELIVERIES]).await;
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "accepted").count(), 1, "{verdicts:?}");
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "duplicate").count(), DELIVERIES - 1);
    one_job_and_one_paid_order(&ada, &document, &order).await;
    // Long after: still the same event.
    assert_eq!(deliver(&system, vec![body]).await, ["duplicate"]);
    assert_eq!(ada.jobs_of(&document).await.len(), 1);
    system.stop().await;
}

async fn different_events_for_one_payment_start_one_job(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let document = ada.short_document().await;
    let order = ada.checkout(&document).await;
    let kinds = ["charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"];
    let mut bodies = Vec::new();
    for turn in 0..DELIVERIES / kinds.len() {
        for (place, kind) in kinds.iter().enumerate() {
            // Ten different events of each kind, every one of them twice.
            let event = format!("evt_{place}_{}", turn % 10);
            bodies.push(Told { event: &event, kind, order: &order }.body());
        }
    }
    let verdicts = deliver(&system, bodies).await;
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "accepted").count(), 30, "{verdicts:?}");
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "duplicate").count(), 30, "{verdicts:?}");
    one_job_and_one_paid_order(&ada, &document, &order).await;
    system.stop().await;
}

async fn a_provider_that_repeats_itself_starts_one_job(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let sandbox = system.embedded.sandbox();
    sandbox.set_behaviour(Behaviour {
        duplicates: 19,
        wrong_signature_first: true,
        shuffle: true,
        seed: 7,
        hold: false,
    });
    let ada = system.sign_in("ada@example.org").await;
    let document = ada.short_document().await;
    let order = ada.checkout(&document).await;
    ada.pay(&order).await;
    one_job_and_one_paid_order(&ada, &document, &order).await;
    sandbox.drained().await;
    let attempts = sandbox.attempts();
    let acknowledged = attempts.iter().filter(|attempt| attempt.status == Some(200)).count();
    assert!(acknowledged >= 3 * 20, "only {acknowledged} of {} deliveries were acknowledged", attempts.len());
    let forged: Vec<_> = attempts.iter().filter(|attempt| attempt.forged).collect();
    assert!(!forged.is_empty() && forged.iter().all(|attempt| attempt.status == Some(400)), "{forged:?}");
    assert_eq!(ada.jobs_of(&document).await.len(), 1);
    system.stop().await;
}

async fn an_event_that_is_not_the_providers_starts_nothing(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let document = ada.short_document().await;
    let order = ada.checkout(&document).await;
    let body = Told { event: "evt_forged", kind: "checkout.session.completed", order: &order }.body();
    let good = signed(&body);
    let mut altered = body.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    let old = signature::sign(WEBHOOK_SECRET, now() - 600, &body);
    let other = signature::sign("whsec_of_somebody_else_entirely", now(), &body);

    for (body, signature, reason) in [
        (&body, None, "SIGNATURE_MISSING"),
        (&body, Some(""), "SIGNATURE_MISSING"),
        (&body, Some("nonsense"), "SIGNATURE_MALFORMED"),
        (&body, Some(other.as_str()), "SIGNATURE_MISMATCH"),
        (&altered, Some(good.as_str()), "SIGNATURE_MISMATCH"),
        (&body, Some(old.as_str()), "SIGNATURE_TIMESTAMP"),
    ] {
        let refused = system.client.webhook(body.clone(), signature).await.with_status(400);
        assert_eq!(refused.reason(), reason);
        assert!(refused.json()["detail"].is_string());
    }
    let noise = b"not an event".to_vec();
    let refused = system.client.webhook(noise.clone(), Some(&signed(&noise))).await.with_status(400);
    assert_eq!(refused.reason(), "WEBHOOK_MALFORMED");
    let large = vec![b' '; (1 << 20) + 1];
    let refused = system.client.webhook(large.clone(), Some(&signed(&large))).await.with_status(413);
    assert_eq!(refused.reason(), "WEBHOOK_TOO_LARGE");

    // Genuine, but about nothing of ours.
    let foreign =
        json!({ "id": "evt_foreign", "type": "invoice.paid", "data": { "object": { "id": "in_1" } } });
    let foreign = foreign.to_string().into_bytes();
    let ignored = system.client.webhook(foreign.clone(), Some(&signed(&foreign))).await.with_status(200);
    assert_eq!(ignored.json()["verdict"], "ignored");
    // Genuine, but less than the price.
    let mut cheap = order.clone();
    cheap["total"]["amount_minor"] = json!(1);
    assert_eq!(ada.order(&text(&order["id"])).await["status"], "open");
    assert_eq!(ada.jobs_of(&document).await, Vec::<Value>::new());
    assert_eq!(ada.document(&document).await["status"], "payment_pending");

    let cheap = Told { event: "evt_cheap", kind: "checkout.session.completed", order: &cheap }.body();
    assert_eq!(deliver(&system, vec![cheap]).await, ["quarantined"]);
    assert_eq!(ada.order(&text(&order["id"])).await["status"], "quarantined");
    assert_eq!(ada.jobs_of(&document).await, Vec::<Value>::new());
    system.stop().await;
}

async fn only_a_paid_order_or_an_operator_starts_a_job(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let document = ada.short_document().await;
    let generate = async |who: &Customer, document: &str| -> Answer {
        who.post("/generate/full-document", &json!({ "document_id": document })).await
    };
    let refused = generate(&ada, &document).await.with_status(402);
    assert_eq!(refused.reason(), "PAYMENT_REQUIRED");
    ada.checkout(&document).await;
    generate(&ada, &document).await.with_status(402);
    assert_eq!(ada.jobs_of(&document).await, Vec::<Value>::new());

    // Paid: the same job as the payment has started, not another.
    let paid = ada.short_document().await;
    let job = ada.buy(&paid).await;
    let same = generate(&ada, &paid).await.with_status(202).json();
    assert_eq!(same["id"], job.as_str());
    assert_eq!(ada.jobs_of(&paid).await.len(), 1);

    let operator = system.sign_in(OPERATOR).await;
    let own = operator.create_document(&json!({ "title": "Proof", "target_pages": 4 })).await;
    operator.upload_sample(&own, samples::TEXT).await;
    let started = generate(&operator, &own).await.with_status(202);
    let job = started.json();
    assert_eq!(started.header("location"), format!("/api/v1/jobs/{}", job["id"].as_str().unwrap()));
    assert_eq!(job["order_id"], Value::Null);
    let events = operator.follow(&text(&job["id"]), 0).await;
    assert_eq!(events.last().unwrap().kind, "completed", "{events:?}");
    let pdf = operator.export(&own, "pdf").await.with_status(200);
    assert!((3..=4).contains(&samples::pages_of(&pdf.body)));
    system.stop().await;
}
