//! The provider's webhook: an event is stored and applied in one transaction, and acknowledged after it.

use std::sync::Arc;
use std::time::Duration;

use quire_clock::World;
use quire_database::Database;
use quire_limit::SeenKeys;
use sea_orm::DatabaseTransaction;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::apply::{Applied, Scene};
use crate::error::PaymentError;
use crate::event::{Event, Subject};
use crate::signature::Verifier;
use crate::store;
use crate::store::entity::inbox::{self, InboxStatus};

/// Real events have a few kilobytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The provider repeats an event for three days.
const SEEN_FOR: Duration = Duration::from_secs(4 * 24 * 3600);

/// Takes in events.
pub(crate) struct Webhook {
    pub(crate) database: Database,
    pub(crate) world: World,
    pub(crate) verifier: Verifier,
    pub(crate) seen: SeenKeys,
    /// Wakes the relay.
    pub(crate) wake: Arc<Notify>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stored { status: InboxStatus, reason: &'static str },
    Duplicate,
}

impl Webhook {
    /// Stores an event and does what it calls for. A repeated event changes nothing.
    ///
    /// # Errors
    /// The body is too large, not signed by the provider, or no event; or the database fails, and then nothing
    /// is stored.
    pub(crate) async fn handle(&self, body: &[u8], signature: Option<&str>) -> Result<Verdict, PaymentError> {
        if body.len() > MAX_BODY_BYTES {
            return Err(PaymentError::BodyTooLarge { limit: MAX_BODY_BYTES });
        }
        if let Err(error) = self.verifier.verify(body, signature, self.world.now()) {
            tracing::warn!(reason = error.reason(), "webhook refused");
            return Err(error.into());
        }
        let event = Event::parse(body)?;
        let key = format!("webhook:{}", event.id);
        // Redis only tells where to look first, since it may remember what the database does not: a hit spares
        // the write transaction, but the row decides.
        if self.seen.seen(&key).await && store::event_is_stored(self.database.reader(), &event.id).await? {
            return Ok(Verdict::Duplicate);
        }
        let txn = self.database.begin_write().await?;
        let Some(applied) = self.store(&txn, &event, body).await? else {
            return Ok(Verdict::Duplicate);
        };
        txn.commit().await?;
        if applied.tasks {
            self.wake.notify_one();
        }
        if applied.status == InboxStatus::Done {
            self.seen.remember(&key, SEEN_FOR).await;
        }
        tracing::info!(event = event.id, kind = event.kind, status = ?applied.status, reason = applied.reason, "webhook stored");
        Ok(Verdict::Stored { status: applied.status, reason: applied.reason })
    }

    /// Nothing: the event was stored before.
    async fn store(
        &self,
        txn: &DatabaseTransaction,
        event: &Event,
        body: &[u8],
    ) -> Result<Option<Applied>, PaymentError> {
        let order_id = match &event.subject {
            Subject::Ignored(_) => None,
            Subject::Order { order_id, .. } => Some(order_id.clone()),
        };
        let row = inbox::Model {
            event_id: event.id.clone(),
            kind: event.kind.clone(),
            payload: String::from_utf8(body.to_vec()).map_err(|_| PaymentError::Payload)?,
            sha256: hex::encode(Sha256::digest(body)),
            status: InboxStatus::Received,
            reason: String::new(),
            order_id,
            received_at: self.world.now().unix_micros(),
        };
        if !store::insert_event(txn, row).await? {
            return Ok(None);
        }
        let applied = match &event.subject {
            Subject::Ignored(reason) => Applied { status: InboxStatus::Ignored, reason, tasks: false },
            Subject::Order { order_id, notice } => {
                let mut order = store::lock_order(txn, order_id).await?;
                if order.is_none() {
                    // Perhaps it is being created right now: then this waits and looks again.
                    store::serialize_on_order(txn, order_id).await?;
                    order = store::lock_order(txn, order_id).await?;
                }
                match order {
                    Some(order) => {
                        Scene { txn, world: &self.world, actor: &event.id }.apply(&order, notice).await?
                    }
                    None => Applied { status: InboxStatus::Parked, reason: "ORDER_UNKNOWN", tasks: false },
                }
            }
        };
        store::finish_event(txn, &event.id, applied.status, applied.reason).await?;
        Ok(Some(applied))
    }
}

/// Applies the events that came before their order; call it in the transaction that creates the order, after
/// [`store::serialize_on_order`]. Tells whether there are new tasks.
pub(crate) async fn wake_parked(
    txn: &DatabaseTransaction,
    world: &World,
    order_id: &str,
) -> Result<bool, PaymentError> {
    let mut tasks = false;
    for row in store::parked_events(txn, order_id).await? {
        let event = Event::parse(row.payload.as_bytes())?;
        let Subject::Order { notice, .. } = &event.subject else {
            continue;
        };
        // Read again for each event: the one before may have changed it.
        let Some(order) = store::lock_order(txn, order_id).await? else {
            continue;
        };
        let applied = Scene { txn, world, actor: &event.id }.apply(&order, notice).await?;
        store::finish_event(txn, &event.id, applied.status, applied.reason).await?;
        tasks |= applied.tasks;
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use quire_migrations::PaymentMigrator;
    use quire_testkit::{Backend, TestDatabase};
    use secrecy::SecretString;
    use serde_json::json;

    use super::*;
    use crate::store::entity::orders::{Model as Order, OrderStatus};

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
        let webhook = Webhook {
            database,
            world: World::system(),
            verifier: Verifier::new(vec![SecretString::from(SECRET)]),
            seen: SeenKeys::None,
            wake: Arc::default(),
        };
        (webhook, file)
    }

    fn order(world: &World) -> Order {
        Order {
            id: world.id(),
            document_id: world.id(),
            user_id: "ada".to_owned(),
            pages: 12,
            unit_minor: 50,
            amount_minor: 600,
            currency: "EUR".to_owned(),
            status: OrderStatus::Open,
            provider_request: String::new(),
            checkout_session_id: None,
            checkout_url: None,
            provider_payment_id: None,
            job_id: None,
            created_at: 0,
            paid_at: None,
            expires_at: 0,
            checked_at: 0,
        }
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
        let signature = quire_sandbox::signature::sign(SECRET, webhook.world.now().unix_seconds(), &body);
        webhook.handle(&body, Some(&signature)).await.unwrap()
    }

    async fn create(webhook: &Webhook, order: &Order) {
        let txn = webhook.database.begin_write().await.unwrap();
        store::serialize_on_order(&txn, &order.id).await.unwrap();
        assert!(store::insert_order(&txn, order).await.unwrap());
        wake_parked(&txn, &webhook.world, &order.id).await.unwrap();
        txn.commit().await.unwrap();
    }

    async fn status(webhook: &Webhook, order: &Order) -> OrderStatus {
        store::order(webhook.database.reader(), &order.id).await.unwrap().unwrap().status
    }

    async fn a_parked_event_is_applied_when_its_order_is_created(backend: Backend) {
        let (webhook, _file) = webhook(backend).await;
        let order = order(&webhook.world);
        let parked = Verdict::Stored { status: InboxStatus::Parked, reason: "ORDER_UNKNOWN" };
        assert_eq!(deliver(&webhook, &order).await, parked);
        create(&webhook, &order).await;
        assert_eq!(status(&webhook, &order).await, OrderStatus::Paid);
        assert_eq!(deliver(&webhook, &order).await, Verdict::Duplicate);
    }

    async fn an_event_and_the_creation_of_its_order_do_not_miss_each_other(backend: Backend) {
        let (webhook, _file) = webhook(backend).await;
        for _ in 0..50 {
            let order = order(&webhook.world);
            tokio::join!(deliver(&webhook, &order), create(&webhook, &order));
            assert_eq!(status(&webhook, &order).await, OrderStatus::Paid);
        }
    }

    quire_testkit::on_both_databases!(
        a_parked_event_is_applied_when_its_order_is_created,
        an_event_and_the_creation_of_its_order_do_not_miss_each_other,
    );
}
