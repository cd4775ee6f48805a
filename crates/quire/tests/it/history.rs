//! Many customers pay while processes are killed and stand still. Everything that anybody does is written down, and the
//! databases must be one that this history can end with: the orders that were paid are the orders that have a job, each
//! one.
//!
//! `QUIRE_HISTORY_SECONDS` sets how long it goes on, and `QUIRE_HISTORY_SEED` what is drawn.

mod checker;
mod clients;
mod nemesis;
mod record;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use quire_clock::World;
use quire_proto::payment::v1::ReconcileRequest;
use quire_proto::payment::v1::payment_service_client::PaymentServiceClient;
use quire_sandbox::{Behaviour, Transit};
use quire_serve::client::channel;
use quire_testkit::Backend;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use self::checker::{End, Tally, When, check};
use self::clients::{Buyer, Replicas, carrier};
use self::nemesis::Nemesis;
use self::record::Recorder;
use crate::books::Books;
use crate::customer::Customer;
use crate::fleet::{Fleet, Member};
use crate::road::Road;
use crate::system::OPERATOR;
use crate::till::Till;
use crate::wait::eventually;

const BUYERS: usize = 4;
const SECONDS: u64 = 15;

/// Three payment services and two job services on one database, and one of each other kind.
struct Stage {
    /// Those that the nemesis may touch.
    victims: Vec<Member>,
    replicas: Vec<String>,
    gateway: Member,
    _others: Vec<Member>,
}

impl Stage {
    async fn start(fleet: &Fleet) -> Self {
        let mut auth = fleet.member("auth", &[]);
        let mut document = fleet.member("document", &[("QUIRE_AUTH_URL", &auth.url())]);
        let (auth_url, document_url) = (auth.url(), document.url());
        let known = [("QUIRE_AUTH_URL", &*auth_url), ("QUIRE_DOCUMENT_URL", &*document_url)];
        let jobs = [(); 2].map(|()| fleet.member("background-job", &known));
        let payments = [(); 3].map(|()| fleet.member("payment", &known));
        let replicas: Vec<String> = payments.iter().map(Member::url).collect();
        let job_urls: Vec<String> = jobs.iter().map(Member::url).collect();
        let gateway = fleet.member("gateway", &known);
        let mut gateway =
            gateway.knowing(&[("QUIRE_PAYMENT_URL", &replicas[0]), ("QUIRE_JOB_URL", &job_urls[0])]);
        let payments = payments.into_iter().zip(job_urls.iter().cycle());
        let payments = payments.map(|(payment, job)| payment.knowing(&[("QUIRE_JOB_URL", job)]));
        let jobs = jobs.into_iter().zip(&replicas);
        let jobs = jobs.map(|(job, payment)| job.knowing(&[("QUIRE_PAYMENT_URL", payment)]));
        let mut victims: Vec<Member> = payments.chain(jobs).collect();
        for member in [&mut auth, &mut document].into_iter().chain(&mut victims) {
            member.launch();
        }
        for member in [&mut auth, &mut document].into_iter().chain(&mut victims) {
            member.serves().await;
        }
        gateway.start().await;
        Self { victims, replicas, gateway, _others: vec![auth, document] }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_paid_orders_are_the_orders_with_a_job_whatever_dies_meanwhile() {
    if !Backend::postgres_is_there() {
        return;
    }
    let seconds = number("QUIRE_HISTORY_SECONDS").unwrap_or(SECONDS);
    let world = World::system();
    let seed = number("QUIRE_HISTORY_SEED").unwrap_or_else(|| u64::from_le_bytes(world.bytes()));
    println!("seed {seed}, {seconds} seconds");
    let recorder = Recorder::new(world);

    let nowhere = "http://127.0.0.1:1";
    let till =
        Arc::new(Till::start(nowhere, Behaviour { duplicates: 1, seed, ..Behaviour::default() }).await);
    // Some events never come: only reconciling finds out what they would have said.
    till.sandbox.set_transit(Transit {
        loss_percent: 15,
        give_up: true,
        max_delay_ms: 200,
        ..Transit::default()
    });
    let fleet = Fleet::new(Backend::Postgres, till.url()).await;
    let stage = Stage::start(&fleet).await;
    let client = fleet.client(&stage.gateway);
    let replicas = Replicas::new(&stage.replicas, seed);
    let road = Road::start(carrier(replicas.clone(), client.clone(), recorder.clone())).await;
    till.sandbox.set_webhook_url(&*road.url);

    let enough = CancellationToken::new();
    let operator = client.sign_in(OPERATOR).await;
    let mut buyers = JoinSet::new();
    for number in 0..BUYERS {
        let customer = client.sign_in(&format!("buyer-{number}@example.org")).await;
        let (replicas, till, recorder) = (replicas.clone(), till.clone(), recorder.clone());
        buyers.spawn(Buyer { customer, replicas, till, recorder }.shop(enough.clone()));
    }
    let books = fleet.books().await;
    let nemesis = Nemesis {
        members: stage.victims,
        books: fleet.books().await,
        recorder: recorder.clone(),
        dice: Rng::with_seed(seed),
    };
    let raging = tokio::spawn(nemesis.rage(enough.clone()));
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    enough.cancel();
    buyers.join_all().await;
    let nemesis = raging.await.unwrap();
    books.end_leases().await;

    till.sandbox.drained().await;
    at_rest(&books).await;
    let before = verdict(&recorder, &end(&books, &road).await, When::BeforeReconciling);
    let found = reconcile(&stage.replicas[0], &operator).await;
    till.sandbox.drained().await;
    at_rest(&books).await;
    let after = verdict(&recorder, &end(&books, &road).await, When::AfterReconciling);
    let again = reconcile(&stage.replicas[1], &operator).await;
    println!("before reconciling {before:?}\n{} findings\nafter it {after:?}", found.len());
    assert_eq!(again, Vec::<String>::new(), "a second run finds something");
    assert!(after.paid >= BUYERS && after.faults > 0, "nothing happened: {after:?}");
    drop(nemesis);
}

fn number(setting: &str) -> Option<u64> {
    std::env::var(setting).ok().map(|text| text.parse().unwrap())
}

async fn at_rest(books: &Books) {
    eventually("nothing waits", || async { books.waiting().await.is_empty().then_some(()) }).await;
}

async fn end(books: &Books, road: &Road) -> End {
    End {
        orders: books.orders().await.into_iter().map(|order| (order.id, order.status)).collect(),
        jobs: books.jobs().await.into_iter().filter_map(|job| job.order_id).collect(),
        events: books.events().await.into_keys().collect(),
        broken: books.violations(&road.acknowledged()).await,
    }
}

#[track_caller]
fn verdict(recorder: &Recorder, end: &End, when: When) -> Tally {
    let history = recorder.entries();
    check(&history, end, when).unwrap_or_else(|violations| {
        let tail: Vec<String> = history.iter().map(|entry| format!("{entry:?}")).collect();
        panic!("{when:?}: {violations:#?}\n{}", tail.join("\n"))
    })
}

/// Everything that the provider, the ledger and the jobs disagree about, mended.
async fn reconcile(replica: &str, operator: &Customer) -> Vec<String> {
    let mut request = Request::new(ReconcileRequest { dry_run: false });
    let bearer = format!("Bearer {}", operator.access).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let mut client = PaymentServiceClient::new(channel(replica).unwrap());
    let mut answers = client.reconcile(request).await.unwrap().into_inner();
    let mut found = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        found.push(format!("{:?}", answer.finding.unwrap()));
    }
    found
}
