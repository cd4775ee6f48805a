//! Keeps grpc.health.v1 true: NOT_SERVING until the check passes, again when it fails, and first thing on drain.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// Says whether the service can do its work; the text is for an operator.
pub(crate) type Check =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// Always SERVING: for liveness probes, which must not depend on a database.
const LIVE: &str = "live";
const WHILE_WAITING: Duration = Duration::from_millis(200);
const WHILE_READY: Duration = Duration::from_secs(2);

/// A reporter whose every name starts as NOT_SERVING.
pub(crate) async fn reporter(names: &[&'static str]) -> HealthReporter {
    let reporter = HealthReporter::new();
    set(&reporter, names, ServingStatus::NotServing).await;
    reporter.set_service_status(LIVE, ServingStatus::Serving).await;
    reporter
}

/// Runs until the shutdown, then leaves NOT_SERVING behind.
pub(crate) async fn keep(
    service: &'static str,
    reporter: HealthReporter,
    names: Vec<&'static str>,
    check: Check,
    shutdown: CancellationToken,
) {
    let mut ready = false;
    let mut told = String::new();
    loop {
        let outcome = check().await;
        if let Err(reason) = &outcome
            && *reason != told
        {
            tracing::warn!(service, reason, "not ready");
            told.clone_from(reason);
        }
        if outcome.is_ok() != ready {
            ready = outcome.is_ok();
            let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
            set(&reporter, &names, status).await;
            if ready {
                tracing::info!(service, "ready");
                told.clear();
            }
        }
        let pause = if ready { WHILE_READY } else { WHILE_WAITING };
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    set(&reporter, &names, ServingStatus::NotServing).await;
}

async fn set(reporter: &HealthReporter, names: &[&'static str], status: ServingStatus) {
    reporter.set_service_status("", status).await;
    for name in names {
        reporter.set_service_status(*name, status).await;
    }
}
