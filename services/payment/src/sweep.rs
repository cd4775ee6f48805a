//! Ends the checkouts that nobody came back to and of which no event told: the customer left during a crash, or
//! the provider's webhook never arrived.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::checkout::Checkout;
use crate::store;

const EVERY: Duration = Duration::from_secs(60);
/// The provider's own event usually comes first.
const GRACE: Duration = Duration::from_secs(10 * 60);
const BATCH: u64 = 50;

/// Looks at once and then every minute, until the shutdown. Several processes may run one each.
pub(crate) async fn run(checkout: Checkout, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = interval.tick() => sweep(&checkout).await,
        }
    }
}

async fn sweep(checkout: &Checkout) {
    let moment = checkout.world.now().minus(GRACE).unix_micros();
    let overdue = match store::overdue_orders(checkout.database.reader(), moment, BATCH).await {
        Ok(overdue) => overdue,
        Err(error) => {
            tracing::warn!(%error, "overdue orders cannot be read");
            return;
        }
    };
    for order in overdue {
        if let Err(error) = checkout.close_overdue(&order).await {
            tracing::warn!(order = order.id, %error, "an overdue order cannot be closed yet");
        }
    }
}
