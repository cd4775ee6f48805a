//! Asks the provider about orders that no event told of: the customer left during a crash, or the provider's
//! webhook never arrived.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::checkout::Checkout;
use crate::error::PaymentError;
use crate::store;
use crate::store::entity::orders::Model as Order;

const EVERY: Duration = Duration::from_secs(60);
/// An order is asked about only so long after its creation and after the last time: the provider's own event
/// usually comes first.
const RECHECK: Duration = Duration::from_secs(5 * 60);
/// An order is overdue so long after its time was up.
const GRACE: Duration = Duration::from_secs(10 * 60);
const BATCH: u64 = 50;

/// Looks at once and then every minute, until the shutdown. Several processes may run one each.
pub(crate) async fn run(checkout: Checkout, shutdown: CancellationToken) {
    // Stopping halfway is safe: what is not committed did not happen, and the next process asks again.
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = keep_sweeping(&checkout) => {}
    }
}

async fn keep_sweeping(checkout: &Checkout) {
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(error) = sweep(checkout).await {
            tracing::warn!(%error, "orders cannot be swept");
        }
    }
}

/// Every order that is due has its turn once: a checked one is not due again for minutes.
async fn sweep(checkout: &Checkout) -> Result<(), PaymentError> {
    loop {
        let moment = checkout.world.now().minus(RECHECK).unix_micros();
        let due = store::unsettled_orders(checkout.database.reader(), moment, BATCH).await?;
        if due.is_empty() {
            return Ok(());
        }
        for order in due {
            check(checkout, &order).await?;
        }
    }
}

/// Gives an order its turn, unless somebody else has begun to.
///
/// # Errors
/// The turn cannot be noted. That the order itself cannot be checked is only logged.
pub(crate) async fn check(checkout: &Checkout, order: &Order) -> Result<(), PaymentError> {
    let now = checkout.world.now();
    let txn = checkout.database.begin_write().await?;
    let claimed = store::claim_check(&txn, order, now.unix_micros()).await?;
    txn.commit().await?;
    if claimed {
        let overdue = order.expires_at <= now.minus(GRACE).unix_micros();
        if let Err(error) = checkout.check(order, overdue).await {
            tracing::warn!(order = order.id, %error, "an order cannot be checked yet");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use quire_testkit::Backend;

    use super::*;
    use crate::checkout::tests::{checkout, insert};

    async fn the_shutdown_does_not_wait_for_the_provider(backend: Backend) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (checkout, _file) = checkout(backend, &url).await;
        insert(&checkout, |order| order.checkout_session_id = Some("cs_1".to_owned())).await;
        let shutdown = CancellationToken::new();
        let sweeping = tokio::spawn(run(checkout, shutdown.clone()));
        // The provider takes the call and never answers.
        let _call = listener.accept().await.unwrap();
        shutdown.cancel();
        sweeping.await.unwrap();
        let second = listener.into_std().unwrap().accept();
        assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it went on trying");
    }

    async fn every_order_has_its_turn(backend: Backend) {
        // Without a session nobody is asked, and the order is not overdue: it stays as it is.
        let (checkout, _file) = checkout(backend, "http://127.0.0.1:1").await;
        let future = checkout.world.now().plus(GRACE).unix_micros();
        let orders = usize::try_from(2 * BATCH + 1).unwrap();
        for _ in 0..orders {
            insert(&checkout, |order| order.expires_at = future).await;
        }
        let reader = checkout.database.reader();
        let before = store::unsettled_orders(reader, 0, 1000).await.unwrap();
        assert_eq!(before.len(), orders);
        sweep(&checkout).await.unwrap();
        assert_eq!(store::unsettled_orders(reader, 0, 1000).await.unwrap(), vec![]);
        // Another process that has read an order before does not check it again.
        let txn = checkout.database.begin_write().await.unwrap();
        assert!(!store::claim_check(&txn, &before[0], 1).await.unwrap());
    }

    quire_testkit::on_both_databases!(the_shutdown_does_not_wait_for_the_provider, every_order_has_its_turn,);
}
