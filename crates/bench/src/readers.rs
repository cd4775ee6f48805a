//! A thousand people who follow one job: how many of its events are delivered in a second, and how far apart the first
//! and the last of them get the same one.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use quire::customer::{Customer, text};
use quire_testkit::model_server::{ModelServer, Reply};
use serde_json::json;
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;

use crate::load::percentiles;
use crate::server::Server;

/// One person may have so many streams open.
const STREAMS: usize = 16;
const PEOPLE: usize = 63;
const SECTIONS: usize = 20;
/// UTF-8 bytes of a section, about.
const SECTION_BYTES: usize = 40_000;
/// Words in one event of the model's stream.
const PIECE_WORDS: usize = 40;

/// When an event came, by its number.
type Arrivals = Vec<(u64, Instant)>;

/// Prints the rows by `row`.
pub(crate) async fn measure(
    quire: &Path,
    database: Option<&str>,
    row: impl Fn(&str, &str),
) -> anyhow::Result<()> {
    let (go, waits) = watch::channel(false);
    let model = ModelServer::start(move |asked, _| match asked {
        "outline" => Reply::Waits(String::new(), waits.clone(), outline()),
        key => Reply::Says(section(key)),
    })
    .await;
    // Only operators may follow somebody else's job.
    let emails: Vec<String> = (0..PEOPLE).map(|number| format!("reader-{number}@example.org")).collect();
    let admins = emails.join(",");
    let settings = [
        ("QUIRE_ADMIN_EMAILS", admins.as_str()),
        ("QUIRE_MODEL_BASE_URL", model.url.as_str()),
        ("QUIRE_MODEL", "scripted"),
        ("QUIRE_MODEL_PRICES", "scripted=0"),
    ];
    let server = Server::start_in(quire, tempfile::tempdir()?, database, &settings).await?;
    let mut people = Vec::new();
    for email in &emails {
        let mut person = Customer::new(&server.gateway)?;
        person.sign_in(email, &server.mail_dir()).await?;
        people.push(person);
    }
    let body = json!({ "title": "A long text", "topic": "anything", "target_pages": 60, "writer": "openai" });
    let document = people[0].post("/documents", &body).await?;
    let body = json!({ "document_id": text(&document, "id")? });
    let job = people[0].post("/generate/full-document", &body).await?;
    let url = format!("{}/api/v1/jobs/{}/events", server.gateway, text(&job, "id")?);

    let before = server.resident_mib()?;
    let readers = PEOPLE * STREAMS;
    let ready = Arc::new(Barrier::new(readers + 1));
    let mut following = JoinSet::new();
    for person in &people {
        for _ in 0..STREAMS {
            following.spawn(follow(url.clone(), person.access_token().to_owned(), ready.clone()));
        }
    }
    ready.wait().await;
    go.send_replace(true);
    let mut by_number: HashMap<u64, Vec<Instant>> = HashMap::new();
    let mut delivered = 0;
    while let Some(arrivals) = following.join_next().await {
        let arrivals = arrivals??;
        delivered += arrivals.len();
        arrivals.into_iter().for_each(|(number, at)| by_number.entry(number).or_default().push(at));
    }
    let all = by_number.values().flatten();
    let first = all.clone().min().context("nothing was delivered")?;
    let time = all.max().context("nothing was delivered")?.duration_since(*first);
    let mut apart: Vec<Duration> = by_number
        .values()
        .filter_map(|arrivals| Some(arrivals.iter().max()?.duration_since(*arrivals.iter().min()?)))
        .collect();
    apart.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a rate for a table")]
    let rate = delivered as f64 / time.as_secs_f64();
    let events = by_number.len();
    let whole =
        if delivered == events * readers { "all of them to everybody" } else { "NOT all to everybody" };
    row(&format!("{events} events to {readers} SSE readers"), &format!("{rate:>7.0}/s, {whole}"));
    row("the same event at the first and the last reader", &percentiles(&apart));
    row("memory before and with them (VmRSS)", &format!("{before:.1} and {:.1} MiB", server.resident_mib()?));
    server.stop().await?;
    Ok(())
}

/// Notes every event until the last section is written.
async fn follow(url: String, token: String, ready: Arc<Barrier>) -> anyhow::Result<Arrivals> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut answer = http.get(url).bearer_auth(token).send().await?.error_for_status()?;
    let mut buffer = Vec::new();
    let mut arrivals = Vec::new();
    let mut waiting = true;
    while let Some(bytes) = answer.chunk().await? {
        if std::mem::take(&mut waiting) {
            ready.wait().await;
        }
        buffer.extend_from_slice(&bytes);
        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
            let frame: Vec<u8> = buffer.drain(..end + 2).collect();
            let frame = String::from_utf8(frame)?;
            let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
            let Some(number) = field("id: ") else { continue };
            if field("event: ") == Some("typesetting") {
                return Ok(arrivals);
            }
            // Those before were there already when the reader came.
            if ["text", "section_started", "section_done"].contains(&field("event: ").unwrap_or_default()) {
                arrivals.push((number.parse()?, Instant::now()));
            }
        }
    }
    anyhow::bail!("the stream ended before the job did")
}

fn outline() -> String {
    let chapters = (1..=SECTIONS / 5).map(|chapter| {
        let sections = (1..=5).map(|section| format!("Section {section} of chapter {chapter}"));
        json!({ "title": format!("Chapter {chapter}"), "sections": sections.collect::<Vec<_>>() })
    });
    json!({ "chapters": chapters.collect::<Vec<_>>() }).to_string()
}

/// Words that do not repeat as a model does that is caught in a loop.
fn section(key: &str) -> Vec<String> {
    let mut dice = fastrand::Rng::with_seed(key.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte)));
    let mut pieces = Vec::new();
    let mut length = 0;
    while length < SECTION_BYTES {
        let mut piece = String::new();
        for _ in 0..PIECE_WORDS {
            let word: String = (0..dice.usize(2..10)).map(|_| dice.lowercase()).collect();
            let _ = write!(piece, "{word}{}", if dice.u8(0..12) == 0 { ". " } else { " " });
        }
        length += piece.len();
        pieces.push(piece);
    }
    pieces.push("And this is the end.".to_owned());
    pieces
}
