//! A mail to an owner outlives the process that was to send it.

use std::collections::HashMap;

use quire_testkit::Backend;
use reqwest::Method;
use serde_json::json;

use crate::customer::{Customer, text};
use crate::mailbox;
use crate::serving::Serving;
use crate::wait::eventually;

quire_testkit::on_both_databases!(an_alert_that_was_committed_is_sent_after_a_kill);

async fn an_alert_that_was_committed_is_sent_after_a_kill(backend: Backend) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = HashMap::from([("QUIRE_REFRESH_GRACE_SECONDS".to_owned(), "0".to_owned())]);
    let database = match backend {
        Backend::Sqlite => None,
        Backend::Postgres => Some(backend.create().await),
    };
    if let Some(database) = &database {
        settings.insert("DATABASE_URL".to_owned(), database.url().to_owned());
    }
    // The second refresh is the one that comes back too late.
    let mut dying = settings.clone();
    dying.insert("QUIRE_FAIL_POINT".to_owned(), "auth.refresh.committed#2=kill".to_owned());
    let mut serving = Serving::start(folder.path(), &dying).await;
    let ada = serving.client.sign_in("ada@example.org").await;
    let renewed = serving.client.refresh(&ada.refresh).await.with_status(200).json();
    let successor = Customer { access: text(&renewed["access_token"]), ..ada.clone() };
    successor.get("/auth/me").await.with_status(200);
    let back = serving.client.request(Method::POST, "/auth/refresh");
    assert!(back.json(&json!({ "refresh_token": ada.refresh })).send().await.is_err());
    eventually("the process is gone", || std::future::ready(serving.was_killed().then_some(()))).await;

    let serving = Serving::start(folder.path(), &settings).await;
    let told = || {
        let mails = mailbox::present(&folder.path().join("mail")).into_iter();
        let mails = mails.map(|file| std::fs::read_to_string(file).unwrap());
        mails.filter(|mail| mail.contains("A sign-in of yours was ended")).collect::<Vec<String>>()
    };
    let mails =
        eventually("the owner is told", || async { Some(told()).filter(|told| !told.is_empty()) }).await;
    assert!(mails[0].contains("To: ada@example.org\r\n"), "{}", mails[0]);
    let noted = "/auth/audit?action=session.reuse_mailed";
    let ada = serving.client.sign_in("ada@example.org").await;
    eventually("it is in the audit log", || async {
        let events = ada.get(noted).await.with_status(200).json()["events"].as_array().unwrap().clone();
        (!events.is_empty()).then(|| assert_eq!(events.len(), 1))
    })
    .await;
    assert_eq!(told().len(), 1, "once");
    serving.kill();
}
