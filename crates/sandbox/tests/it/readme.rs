//! The README: its lines work, and it names every control.

use std::process::Stdio;

use quire_sandbox::SandboxConfig;
use tokio::process::Command;

use crate::receiver::Receiver;
use crate::shop::{Shop, config};

const README: &str = include_str!("../../README.md");

/// All lines of the README that are for a shell, in order.
fn script() -> String {
    let blocks = README.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default()).collect()
}

async fn is_there(program: &str) -> bool {
    let run = Command::new(program).arg("--version").stdout(Stdio::null()).status().await;
    run.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn every_line_of_the_readme_works() {
    if !is_there("bash").await || !is_there("curl").await {
        println!("skipped: no bash with curl");
        return;
    }
    let receiver = Receiver::start().await;
    let shop = Shop::open_with(SandboxConfig {
        api_keys: vec!["sk_test_quire_sandbox".to_owned()],
        webhook_url: Some(receiver.url.clone()),
        ..config()
    })
    .await;
    let script = script()
        .replace("http://127.0.0.1:12111", shop.sandbox.url())
        .replace("http://127.0.0.1:8080/api/v1/payment/webhook", &receiver.url);
    assert!(script.lines().count() > 80, "the README has lost its lines");
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("bash")
        .args(["-x", "-e", "-u", "-o", "pipefail", "-c", &script])
        .env("NO_PROXY", "127.0.0.1")
        .current_dir(folder.path())
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn the_readme_names_every_control() {
    let shop = Shop::open().await;
    let (_, index) = shop.get("/sandbox").await;
    for route in index["routes"].as_array().unwrap() {
        let route = format!("`{}`", route.as_str().unwrap());
        assert!(README.contains(&route), "{route} is missing");
    }
}
