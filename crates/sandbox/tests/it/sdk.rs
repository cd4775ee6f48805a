//! Stripe's own SDK as client.

use quire_clock::World;
use quire_sandbox::SandboxConfig;
use tokio::process::Command;

use crate::receiver::SECRET;
use crate::shop::{KEY, Shop, config};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/stripe_sdk.py");

/// The Python that has the `stripe` package: `QUIRE_TEST_PYTHON`, which must have it, or `python3`, which may.
async fn python() -> Option<String> {
    if let Ok(python) = std::env::var("QUIRE_TEST_PYTHON") {
        return Some(python);
    }
    let probe = Command::new("python3").args(["-c", "import stripe"]).output().await;
    probe.is_ok_and(|probe| probe.status.success()).then(|| "python3".to_owned())
}

#[tokio::test]
async fn the_python_sdk_pays_refunds_and_verifies_webhooks() {
    let Some(python) = python().await else {
        println!("skipped: no python3 with the stripe package");
        return;
    };
    let config =
        SandboxConfig { webhook_secrets: vec!["whsec_before".to_owned(), SECRET.to_owned()], ..config() };
    // The SDK compares the signature's time with the time of day.
    let shop = Shop::open_at(config, World::system().now()).await;
    let output = Command::new(python)
        .args([SCRIPT, shop.sandbox.url(), KEY, SECRET])
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .await
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains(": 10 events"), "{stdout}");
}
