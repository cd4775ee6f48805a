//! A delivered job as its owner follows it, and as an operator writes it once more: over REST, over WebSocket and at the
//! terminal.

use std::process::{Command, Output};

use quire_testkit::Backend;
use serde_json::{Value, json};

use crate::customer::text;
use crate::socket::Socket;
use crate::system::{OPERATOR, System};

quire_testkit::on_both_databases!(a_delivered_job_is_followed_and_written_once_more);

async fn run(mut command: Command, arguments: &[&str]) -> Output {
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn a_delivered_job_is_followed_and_written_once_more(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let eve = system.sign_in("eve@example.org").await;
    let document = ada.short_document().await;
    let job = ada.buy(&document).await;
    assert_eq!(ada.job(&job).await["forecast"], Value::Null);

    let events = ada.follow(&job, 0).await;
    let mut socket = Socket::open(&ada, &document, 0).await.unwrap();
    let mut told = Vec::new();
    let code = loop {
        match socket.next().await {
            Ok(event) => told.push(event),
            Err(code) => break code,
        }
    };
    assert_eq!((told, code), (events, Some(1000)));
    assert!(Socket::open(&eve, &document, 0).await.is_none(), "it is not hers");

    let operator = system.sign_in(OPERATOR).await;
    let path = format!("/admin/jobs/{job}/replay");
    assert_eq!(ada.post(&path, &json!({})).await.with_status(403).reason(), "ADMIN_REQUIRED");
    let report = operator.post(&path, &json!({})).await.with_status(200).json();
    assert_eq!(report["reproduced"], true, "{report}");
    let steps = report["steps"].as_array().unwrap();
    assert!(steps.len() > 1 && steps.iter().all(|step| step["verdict"] == "same"), "{report}");

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("replayed");
    let arguments = ["jobs", "replay", &job, "--out", out.to_str().unwrap()];
    let replayed = run(system.command(), &arguments).await;
    let said = String::from_utf8(replayed.stdout).unwrap();
    assert!(replayed.status.success(), "{said}{}", String::from_utf8_lossy(&replayed.stderr));
    assert_eq!(said.lines().count(), steps.len() + 2, "{said}");
    let first = said.lines().next().unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(first, ["plan", "same", "0", "calls"]);
    let markdown = std::fs::read_to_string(out.join(format!("{job}.md"))).unwrap();
    assert!(markdown.starts_with("# Keeping books"), "{markdown}");

    let shown = run(system.command(), &["jobs", "show", &job]).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    for step in steps {
        assert!(shown.contains(&text(&step["key"])), "{shown}");
    }
    let unknown = run(system.command(), &["jobs", "replay", "018bcfe5-6800-7000-8000-000000000001"]).await;
    assert!(!unknown.status.success());
    system.stop().await;
}
