//! The process is killed in the middle of a refresh: whoever repeats it goes on with the same session.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use quire_clock::World;
use quire_testkit::Backend;
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::customer::{Customer, text};
use crate::serving::Serving;
use crate::wait::eventually;

quire_testkit::on_both_databases!(whoever_repeats_a_cut_refresh_goes_on_with_one_session);

/// Half of them at a moment that is different each time, half of them between the commit and the answer.
const ROUNDS: usize = 12;
/// A refresh rarely takes longer.
const LATEST: Duration = Duration::from_millis(12);
/// The first one of each process is the repeated one.
const AFTER_THE_COMMIT: &str = "auth.refresh.committed#2=kill";

async fn whoever_repeats_a_cut_refresh_goes_on_with_one_session(backend: Backend) {
    let folder = tempfile::tempdir().unwrap();
    // Without a grace, a successor is given once more only because it was not seen in use.
    let mut settings = HashMap::from([("QUIRE_REFRESH_GRACE_SECONDS".to_owned(), "0".to_owned())]);
    let database = match backend {
        Backend::Sqlite => None,
        Backend::Postgres => Some(backend.create().await),
    };
    if let Some(database) = &database {
        settings.insert("DATABASE_URL".to_owned(), database.url().to_owned());
    }
    let serving = Serving::start(folder.path(), &settings).await;
    let mut ada = serving.client.sign_in("ada@example.org").await;
    let session = only_session(&ada).await;
    serving.kill();

    let mut heard = None;
    let mut lost = 0;
    for round in 0..ROUNDS {
        let serving = start(folder.path(), &settings, round).await;
        ada = repeated(Customer { client: serving.client.clone(), ..ada }, heard).await;
        assert_eq!(only_session(&ada).await, session, "round {round}");
        heard = cut(serving, &ada.refresh, round).await;
        lost += usize::from(heard.is_none());
    }
    // At least where nothing can be heard.
    assert!(lost >= ROUNDS / 2, "{lost} of {ROUNDS}");

    let serving = Serving::start(folder.path(), &settings).await;
    let ada = repeated(Customer { client: serving.client.clone(), ..ada }, heard).await;
    assert_eq!(only_session(&ada).await, session);
    let ended = ada.get("/auth/audit?action=session.revoked").await.with_status(200).json();
    assert_eq!(ended["events"], json!([]), "the session was ended on the way");
    serving.kill();
}

async fn start(folder: &Path, settings: &HashMap<String, String>, round: usize) -> Serving {
    let mut settings = settings.clone();
    if by_point(round) {
        settings.insert("QUIRE_FAIL_POINT".to_owned(), AFTER_THE_COMMIT.to_owned());
    }
    Serving::start(folder, &settings).await
}

fn by_point(round: usize) -> bool {
    round % 2 == 1
}

/// The same token again; if there was an answer the first time, this one says the same.
async fn repeated(ada: Customer, heard: Option<Value>) -> Customer {
    let renewed = ada.client.refresh(&ada.refresh).await.with_status(200).json();
    if let Some(heard) = heard {
        assert_eq!(heard["refresh_token"], renewed["refresh_token"]);
    }
    Customer { access: text(&renewed["access_token"]), refresh: text(&renewed["refresh_token"]), ..ada }
}

/// Refreshes and kills the process meanwhile. What was heard of it, if anything.
async fn cut(mut serving: Serving, token: &str, round: usize) -> Option<Value> {
    let request = serving.client.request(Method::POST, "/auth/refresh");
    let request = request.json(&json!({ "refresh_token": token })).send();
    if by_point(round) {
        assert!(request.await.is_err(), "the process lives on");
        eventually("the process is gone", || std::future::ready(serving.was_killed().then_some(()))).await;
        return None;
    }
    let sending = tokio::spawn(async { request.await?.error_for_status()?.json().await });
    let random = u128::from(u32::from_le_bytes(World::system().bytes()));
    let micros = u64::try_from(LATEST.as_micros() * random / u128::from(u32::MAX)).unwrap();
    tokio::time::sleep(Duration::from_micros(micros)).await;
    serving.kill();
    let heard: reqwest::Result<Value> = sending.await.unwrap();
    heard.ok()
}

/// The id of the one session that the customer has.
async fn only_session(ada: &Customer) -> String {
    let answer: Answer = ada.get("/auth/sessions").await.with_status(200);
    let sessions = answer.json()["sessions"].as_array().unwrap().clone();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    text(&sessions[0]["id"])
}
