//! The provider's webhook: who signed it, and when.

use crate::error::PaymentError;
use crate::inbox::{Inbox, Verdict};
use crate::metrics::PaymentMetrics;
use crate::signature::Verifier;

/// Real events have a few kilobytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Takes in what the provider posts.
pub(crate) struct Webhook {
    pub(crate) inbox: Inbox,
    pub(crate) verifier: Verifier,
    pub(crate) metrics: PaymentMetrics,
}

impl Webhook {
    /// Stores a posted event and does what it calls for.
    ///
    /// # Errors
    /// The body is too large, not signed by the provider, or no event; or the database fails, and then nothing
    /// is stored.
    pub(crate) async fn handle(&self, body: &[u8], signature: Option<&str>) -> Result<Verdict, PaymentError> {
        if body.len() > MAX_BODY_BYTES {
            return Err(PaymentError::BodyTooLarge { limit: MAX_BODY_BYTES });
        }
        let verified = self.verifier.verify(body, signature, self.inbox.world.now());
        self.metrics.webhook_verified(&verified);
        if let Err(error) = verified {
            tracing::warn!(reason = error.reason(), "webhook refused");
            return Err(error.into());
        }
        self.inbox.world.reach("payment.webhook.verified");
        let verdict = self.inbox.take_in(body).await?;
        self.metrics.webhook_answered(verdict);
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quire_clock::World;
    use quire_limit::SeenKeys;
    use quire_migrations::PaymentMigrator;
    use quire_testkit::{Backend, TestDatabase};
    use secrecy::SecretString;
    use serde_json::json;

    use super::*;
    use crate::apply::Scene;
    use crate::inbox::wake;
    use crate::store::entity::inbox::InboxStatus;
    use crate::store::entity::orders::{Model as Order, OrderStatus};
    use crate::store::{self, Awaited};

    const SECRET: &str = "whsec_test";

    async fn webhook(backend: Backend) -> (Webhook, TestDatabase) {
        let file = backend.create().await;
        let settings = quire_database::Settings {
            url: file.url().to_owned(),
            schema: "payment".to_owned(),
            max_connections: 4,
        };
        let database = quire_database::open(&settings).await.unwrap();
        database.migrate::<PaymentMigrator>().await.unwrap();
        let inbox = Inbox {
            database,
            world: World::system(),
            seen: SeenKeys::None,
            livemode: None,
            wake: Arc::default(),
        };
        let webhook = Webhook {
            inbox,
            verifier: Verifier::new(vec![SecretString::from(SECRET)]),
            metrics: PaymentMetrics::new(&quire_serve::metrics::Metrics::default().scope("payment")),
        };
        (webhook, file)
    }

    fn order(world: &World) -> Order {
        crate::store::entity::orders::tests::order(world)
    }

    async fn deliver(webhook: &Webhook, order: &Order) -> Verdict {
        let payment = format!("pi_{}", order.id);
        let object = json!({
            "id": payment, "amount_received": 600, "currency": "eur", "metadata": { "order_id": order.id },
        });
        let event = json!({
            "id": format!("evt_{}", order.id), "type": "payment_intent.succeeded", "data": { "object": object },
        });
        let body = event.to_string().into_bytes();
        let signature =
            quire_sandbox::signature::sign(SECRET, webhook.inbox.world.now().unix_seconds(), &body);
        webhook.handle(&body, Some(&signature)).await.unwrap()
    }

    async fn create(webhook: &Webhook, order: &Order) {
        let txn = webhook.inbox.database.begin_write().await.unwrap();
        store::serialize_on(&txn, &order.id).await.unwrap();
        assert!(store::insert_order(&txn, order).await.unwrap());
        let scene = Scene { txn: &txn, world: &webhook.inbox.world, actor: "test" };
        wake(&scene, Awaited::Order(&order.id)).await.unwrap();
        txn.commit().await.unwrap();
    }

    async fn status(webhook: &Webhook, order: &Order) -> OrderStatus {
        store::order(webhook.inbox.database.reader(), &order.id).await.unwrap().unwrap().status
    }

    async fn a_parked_event_is_applied_when_its_order_is_created(backend: Backend) {
        let (webhook, _file) = webhook(backend).await;
        let order = order(&webhook.inbox.world);
        let parked = Verdict::Stored { status: InboxStatus::Parked, reason: "ORDER_UNKNOWN" };
        assert_eq!(deliver(&webhook, &order).await, parked);
        create(&webhook, &order).await;
        assert_eq!(status(&webhook, &order).await, OrderStatus::Paid);
        assert_eq!(deliver(&webhook, &order).await, Verdict::Duplicate);
    }

    async fn an_event_and_the_creation_of_its_order_do_not_miss_each_other(backend: Backend) {
        let (webhook, _file) = webhook(backend).await;
        for _ in 0..50 {
            let order = order(&webhook.inbox.world);
            tokio::join!(deliver(&webhook, &order), create(&webhook, &order));
            assert_eq!(status(&webhook, &order).await, OrderStatus::Paid);
        }
    }

    quire_testkit::on_both_databases!(
        a_parked_event_is_applied_when_its_order_is_created,
        an_event_and_the_creation_of_its_order_do_not_miss_each_other,
    );
}
