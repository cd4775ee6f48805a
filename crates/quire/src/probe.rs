//! `quire probe`: whether something is ready, for health checks in images without a shell.

use std::time::Duration;

use anyhow::{Context, bail};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const DEADLINE: Duration = Duration::from_secs(3);

/// # Errors
/// It is not ready, does not answer within three seconds, or the address is not understood.
pub async fn run(url: &str) -> anyhow::Result<()> {
    match url.split_once("://") {
        Some(("http" | "https", _)) => {
            let client = reqwest::Client::builder().timeout(DEADLINE).build()?;
            let answer = client.get(url).send().await.context("no answer")?;
            if !answer.status().is_success() {
                bail!("answered {}", answer.status());
            }
            Ok(())
        }
        Some(("grpc", rest)) => {
            let (authority, service) = rest.split_once('/').unwrap_or((rest, ""));
            tokio::time::timeout(DEADLINE, grpc(authority, service)).await.context("no answer in time")?
        }
        _ => bail!("`{url}` is not understood: write http(s)://host/path or grpc://host:port[/service]"),
    }
}

/// Asks grpc.health.v1.
pub(crate) async fn grpc(authority: &str, service: &str) -> anyhow::Result<()> {
    let channel = quire_serve::client::channel(&format!("http://{authority}"))?;
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel).check(quire_serve::client::outgoing(request, DEADLINE)).await;
    let status =
        answer.map_err(|status| anyhow::anyhow!("no answer: {}", status.code()))?.into_inner().status();
    if status != ServingStatus::Serving {
        bail!("{}", status.as_str_name());
    }
    Ok(())
}
