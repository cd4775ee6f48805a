//! The scheduled run.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Kind, Reconciler, Scope};
use crate::dead_letters;
use crate::error::PaymentError;

/// The first run looks back over a long outage of this service.
const FIRST_WINDOW: Duration = Duration::from_secs(3 * 24 * 3600);
/// Later runs look back over several intervals: one may have failed.
const INTERVALS: u32 = 6;

/// Compares every `interval`, until the shutdown. Several processes may run one each.
pub(crate) async fn run(reconciler: Reconciler, interval: Duration, shutdown: CancellationToken) {
    let mut window = FIRST_WINDOW;
    let keep_comparing = async {
        loop {
            match pass(&reconciler, window).await {
                Ok(()) => window = interval * INTERVALS,
                Err(error) => tracing::warn!(%error, "records cannot be compared yet"),
            }
            tokio::time::sleep(interval).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = keep_comparing => {}
    }
}

async fn pass(reconciler: &Reconciler, window: Duration) -> Result<(), PaymentError> {
    let findings = reconciler.collect(Scope::Recent(window), false).await?;
    for kind in Kind::ALL {
        let count = findings.iter().filter(|finding| finding.kind == kind).count();
        reconciler.metrics.mismatches(kind, count);
    }
    dead_letters::measure(&reconciler.database, &reconciler.metrics).await
}
