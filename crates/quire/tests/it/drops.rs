//! Following a job over connections that break, through two gateways, while its worker is killed: every event comes once,
//! and the text that was followed is the text that is stored.

use std::collections::HashMap;

use quire_sandbox::Behaviour;
use quire_testkit::Backend;
use quire_testkit::model_server::{ModelServer, Reply};
use serde_json::{Value, json};

use crate::customer::{Customer, text};
use crate::fleet::{Fleet, Member};
use crate::provider::{Told, signed};
use crate::samples;
use crate::socket::Socket;
use crate::sse::{Event, Reader};
use crate::till::Till;
use crate::wait::LAST_RESORT;

quire_testkit::on_both_databases!(followers_that_drop_miss_nothing_and_get_nothing_twice);

const OUTLINE: &str = r#"{"chapters":[{"title":"Paper","sections":["Rags","Wood","Size"]},
    {"title":"Ink","sections":["Soot","Oil","Gall"]}]}"#;
const KEYS: [&str; 6] = ["1.1", "1.2", "1.3", "2.1", "2.2", "2.3"];
/// How often each follower loses its connection.
const DROPS: usize = 20;

/// In many pieces, so that there is much to lose.
fn pieces(key: &str) -> Vec<String> {
    (0..300).map(|number| format!("Sheet {number} of {key} was laid on pile {}. ", number * 7)).collect()
}

fn answer(asked: &str, number: usize) -> Reply {
    match (asked, number) {
        ("outline", _) => Reply::says(OUTLINE),
        // The worker dies there.
        ("1.2", 1) => Reply::Hangs(pieces("1.2").concat()),
        (key, 1) => Reply::Says(pieces(key)),
        // A worker that is too slow for its lease is replaced in the middle, too.
        _ => Reply::says("Then all was dry."),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Events,
    Socket,
}

/// An open connection.
enum Line {
    Events(Reader),
    Socket(Box<Socket>),
}

impl Line {
    /// `None`: nobody lets us in, or there is nothing more.
    async fn open(way: Way, customer: &Customer, job: &str, document: &str, after: u64) -> Option<Self> {
        match way {
            Way::Socket => Some(Self::Socket(Box::new(Socket::open(customer, document, after).await?))),
            Way::Events => {
                let request = customer.request(reqwest::Method::GET, &format!("/jobs/{job}/events"));
                let request = request.timeout(LAST_RESORT).header("last-event-id", after.to_string());
                let response = request.send().await.ok()?;
                (response.status() == 200).then(|| Self::Events(Reader::new(response)))
            }
        }
    }

    async fn next(&mut self) -> Option<Event> {
        match self {
            Self::Events(reader) => reader.next().await,
            Self::Socket(socket) => socket.next().await.ok(),
        }
    }
}

/// Reads to the last event, and drops the connection after a random number of events so often. Comes back to one or the
/// other gateway.
async fn follow(way: Way, doors: [Customer; 2], job: String, document: String, seed: u64) -> Vec<Event> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut events: Vec<Event> = Vec::new();
    let mut drops = 0;
    let mut seen = [false; 2];
    loop {
        let after = events.last().map_or(0, |event| event.id);
        let door = if drops == 0 { 0 } else { random.usize(..2) };
        let Some(mut line) = Line::open(way, &doors[door], &job, &document, after).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let enough = if drops < DROPS { random.usize(1..=2) } else { usize::MAX };
        let mut read = 0;
        while read < enough {
            // The job service may be gone: we come back.
            let Some(event) = line.next().await else { break };
            let last = event.is_last();
            events.push(event);
            read += 1;
            seen[door] = true;
            if last {
                assert_eq!((drops, seen), (DROPS, [true; 2]), "{way:?} has not dropped as it should");
                return events;
            }
        }
        drops += usize::from(read == enough);
    }
}

/// What a follower has in the end: a section that starts again is begun anew.
fn joined(events: &[Event]) -> HashMap<String, String> {
    let mut texts: HashMap<String, String> = HashMap::new();
    for event in events {
        match event.kind.as_str() {
            "section_started" => {
                texts.insert(text(&event.data["key"]), String::new());
            }
            "text" => {
                let so_far = texts.get_mut(event.data["key"].as_str().unwrap()).unwrap();
                assert_eq!(event.data["offset"], so_far.len(), "{event:?}");
                so_far.push_str(event.data["text"].as_str().unwrap());
            }
            _ => {}
        }
    }
    texts
}

/// The stored sections as plain text.
async fn stored(customer: &Customer, document: &str) -> HashMap<String, String> {
    let sections = customer.get(&format!("/documents/{document}/sections")).await.with_status(200).json();
    let inlines = |block: &Value| block["inlines"].as_array().unwrap().clone();
    let plain = |section: &Value| {
        let blocks = section["blocks"].as_array().unwrap().iter().flat_map(inlines);
        blocks.map(|inline| text(&inline["text"])).collect::<String>()
    };
    let sections = sections["sections"].as_array().unwrap();
    sections.iter().map(|section| (text(&section["key"]), plain(section))).collect()
}

async fn followers_that_drop_miss_nothing_and_get_nothing_twice(backend: Backend) {
    let model = ModelServer::start(answer).await;
    let till = Till::start("http://127.0.0.1:9", Behaviour::default()).await;
    let fleet = Fleet::new(backend, till.url()).await;
    let played = [
        ("QUIRE_MODEL_BASE_URL", model.url.as_str()),
        ("QUIRE_MODEL", "played"),
        ("QUIRE_MODEL_PRICES", "played=0"),
    ];
    let mut auth = fleet.member("auth", &[]);
    let mut documents = fleet.member("document", &[("QUIRE_AUTH_URL", &auth.url())]).knowing(&played);
    let (auth_url, document_url) = (auth.url(), documents.url());
    let known = [("QUIRE_AUTH_URL", &*auth_url), ("QUIRE_DOCUMENT_URL", &*document_url)];
    let mut payment = fleet.member("payment", &known);
    let mut worker = fleet.member("background-job", &known).knowing(&played);
    worker = worker.knowing(&[("QUIRE_PAYMENT_URL", &payment.url())]);
    payment = payment.knowing(&[("QUIRE_JOB_URL", &worker.url())]);
    let gateway = || {
        let gateway = fleet.member("gateway", &known);
        gateway.knowing(&[("QUIRE_PAYMENT_URL", &payment.url()), ("QUIRE_JOB_URL", &worker.url())])
    };
    let (mut first, mut second): (Member, Member) = (gateway(), gateway());
    for member in [&mut auth, &mut documents, &mut payment, &mut worker, &mut first, &mut second] {
        member.start().await;
    }
    let ada = fleet.client(&first).sign_in("ada@example.org").await;
    let spec = json!({ "title": "Paper and ink", "writer": "openai", "target_pages": 6 });
    let document = ada.create_document(&spec).await;
    ada.upload_sample(&document, samples::TEXT).await;
    let order = ada.checkout(&document).await;
    let event = Told { event: "evt_drops", kind: "checkout.session.completed", order: &order }.body();
    ada.client.webhook(event.clone(), Some(&signed(&event))).await.with_status(200);
    let job = ada.job_of(&text(&order["id"])).await;

    let doors = [ada.clone(), Customer { client: fleet.client(&second), ..ada.clone() }];
    let followers = [(Way::Events, 1), (Way::Socket, 2)]
        .map(|(way, seed)| tokio::spawn(follow(way, doors.clone(), job.clone(), document.clone(), seed)));
    // Its text is on the way when the worker is killed.
    let begun = |event: &Event| event.kind == "text" && event.data["key"] == "1.2";
    ada.follow_until(&job, 0, begun).await;
    worker.kill();
    worker.start().await;

    let log = ada.follow(&job, 0).await;
    assert_eq!(log.last().unwrap().kind, "completed", "{}", worker.said());
    let ids: Vec<u64> = log.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=log.len() as u64).collect::<Vec<_>>());
    for follower in followers {
        let followed = tokio::time::timeout(LAST_RESORT, follower).await.unwrap().unwrap();
        assert_eq!(followed, log);
    }
    let (followed, stored) = (joined(&log), stored(&ada, &document).await);
    assert_eq!(followed.len(), KEYS.len());
    for key in KEYS {
        assert_eq!(followed[key].trim_end(), stored[key], "section {key}");
        assert!(model.calls(key) > 1 || followed[key] == pieces(key).concat(), "section {key}");
    }
    let restarts = log.iter().filter(|event| event.data["restart"] == true).count();
    assert!(restarts >= 1 && model.calls("1.2") >= 2, "the worker did not die where it should");

    // A page that comes when everything is over is told so.
    let mut late = Socket::open(&ada, &document, log.len() as u64).await.unwrap();
    assert_eq!(late.next().await, Err(Some(1000)));
}
