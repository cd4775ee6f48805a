//! Parts that are away, answers that are lost, and processes that stand still: one job all the same.

use quire_sandbox::Behaviour;
use quire_testkit::{Backend, Valve};
use serde_json::Value;
use tokio::sync::watch;

use crate::answer::Answer;
use crate::books::{Books, Task};
use crate::customer::{Client, Customer, text};
use crate::fleet::{Fleet, Member};
use crate::road::Road;
use crate::till::Till;
use crate::wait::eventually;

quire_testkit::on_both_databases!(
    a_payment_waits_for_a_job_service_that_is_away,
    a_lost_answer_of_the_job_service_starts_no_second_job,
    a_relay_that_stands_still_beyond_its_lease_changes_nothing,
);

/// An installation with one gateway, one job service and two payment services that share a database. The first payment
/// service, which gets the webhooks, reaches the job service through a valve.
struct Stage {
    _fleet: Fleet,
    till: Till,
    road: Road,
    valve: Valve,
    job: Member,
    first: Member,
    second: Member,
    books: Books,
    ada: Customer,
    document: String,
    _others: Vec<Member>,
}

impl Stage {
    async fn new(backend: Backend) -> Self {
        let (place, places) = watch::channel(None::<Client>);
        let road = Road::start(move |parcel| {
            let client = places.borrow().clone();
            async move {
                let Some(client) = client else { return 503 };
                let request = client.request(reqwest::Method::POST, "/payment/webhook");
                let request = request.header("stripe-signature", parcel.signature).body(parcel.body);
                Answer::heard(request).await.map_or(502, |answer| answer.status.as_u16())
            }
        })
        .await;
        let till = Till::start(&road.url, Behaviour::default()).await;
        let fleet = Fleet::new(backend, till.url()).await;
        let mut auth = fleet.member("auth", &[]);
        let auth_url = auth.url();
        let mut document = fleet.member("document", &[("QUIRE_AUTH_URL", &auth_url)]);
        let document_url = document.url();
        let known = [("QUIRE_AUTH_URL", &*auth_url), ("QUIRE_DOCUMENT_URL", &*document_url)];
        let (first, second) = (fleet.member("payment", &known), fleet.member("payment", &known));
        // It settles with the second one.
        let mut job = fleet.member("background-job", &known).knowing(&[("QUIRE_PAYMENT_URL", &second.url())]);
        let valve = Valve::start(&job.address).await;
        let mut first = first.knowing(&[("QUIRE_JOB_URL", &format!("http://{}", valve.address()))]);
        let second = second.knowing(&[("QUIRE_JOB_URL", &job.url())]);
        let mut gateway = fleet.member("gateway", &known);
        gateway = gateway.knowing(&[("QUIRE_PAYMENT_URL", &first.url()), ("QUIRE_JOB_URL", &job.url())]);
        for member in [&mut auth, &mut document, &mut job, &mut first, &mut gateway] {
            member.start().await;
        }
        let client = fleet.client(&gateway);
        place.send_replace(Some(client.clone()));
        let ada = client.sign_in("ada@example.org").await;
        let id = ada.short_document().await;
        let books = fleet.books().await;
        let _others = vec![auth, document, gateway];
        Self { _fleet: fleet, till, road, valve, job, first, second, books, ada, document: id, _others }
    }

    /// Pays, and waits until the provider has an answer of 2xx for every event.
    async fn pay(&self) -> Value {
        let order = self.ada.checkout(&self.document).await;
        self.till.pay(&text(&order["checkout_url"])).await;
        self.till.sandbox.drained().await;
        order
    }

    /// The task to start the job.
    async fn start_task(&self, enough: impl Fn(&Task) -> bool) -> Task {
        eventually("the task to start the job comes so far", || async {
            let tasks = self.books.tasks().await;
            tasks.into_iter().find(|task| task.intent.starts_with("start_job:") && enough(task))
        })
        .await
    }

    /// The order has its one job, is delivered, and no promise is broken.
    async fn one_job(&self, order: &Value) {
        let order_id = text(&order["id"]);
        eventually("everything is delivered", || async {
            let delivered =
                self.books.orders().await.iter().any(|one| one.id == order_id && one.status == "delivered");
            (delivered && self.books.waiting().await.is_empty()).then_some(())
        })
        .await;
        assert_eq!(self.books.violations(&self.road.acknowledged()).await, Vec::<String>::new());
        let jobs = self.books.jobs().await;
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        assert_eq!(jobs[0].order_id.as_ref(), Some(&order_id));
    }
}

/// A5.
async fn a_payment_waits_for_a_job_service_that_is_away(backend: Backend) {
    let mut stage = Stage::new(backend).await;
    stage.job.kill();
    let order = stage.pay().await;
    assert!(!stage.road.acknowledged().is_empty());
    let task = stage.start_task(|task| task.attempts >= 2 && !task.last_error.is_empty()).await;
    assert!(!task.done, "{task:?}");
    assert_eq!(stage.books.jobs().await, vec![]);
    assert_eq!(stage.ada.order(&text(&order["id"])).await["status"], "paid");

    stage.job.start().await;
    stage.second.start().await;
    stage.one_job(&order).await;
    assert!(stage.start_task(|task| task.done).await.attempts >= 3);
}

/// A6.
async fn a_lost_answer_of_the_job_service_starts_no_second_job(backend: Backend) {
    let mut stage = Stage::new(backend).await;
    stage.valve.hold_answers();
    let order = stage.pay().await;
    eventually("the job is there", || async { (!stage.books.jobs().await.is_empty()).then_some(()) }).await;
    let task = stage.start_task(|_| true).await;
    assert!(!task.done, "the answer was heard: {task:?}");
    // The answer that waits in the valve is never heard.
    stage.valve.cut();
    stage.valve.let_answers_through();
    let task = stage.start_task(|task| task.done).await;
    assert_eq!((task.attempts, task.epoch), (2, 2), "it was not sent again, or more than once");
    stage.second.start().await;
    stage.one_job(&order).await;
}

/// A29.
async fn a_relay_that_stands_still_beyond_its_lease_changes_nothing(backend: Backend) {
    let mut stage = Stage::new(backend).await;
    stage.valve.hold_answers();
    let order = stage.pay().await;
    eventually("the job is there", || async { (!stage.books.jobs().await.is_empty()).then_some(()) }).await;
    let held = stage.start_task(|task| task.epoch == 1).await;
    assert!(!held.done, "{held:?}");
    stage.first.pause();
    // So long does it stand still, as far as its lease is concerned.
    stage.books.end_leases().await;
    stage.second.start().await;
    let taken_over = stage.start_task(|task| task.done).await;
    assert_eq!(taken_over.epoch, 2, "{taken_over:?}");

    // It wakes up and hears the answer that it has waited for, or that it has waited too long.
    stage.valve.let_answers_through();
    stage.first.resume();
    eventually("the late one is told", || async {
        let said = stage.first.said();
        ["after its lease had run out", "outbox task failed"]
            .iter()
            .any(|end| said.contains(end))
            .then_some(())
    })
    .await;
    assert_eq!(stage.start_task(|task| task.done).await, taken_over, "it changed what another had done");
    stage.one_job(&order).await;
}
