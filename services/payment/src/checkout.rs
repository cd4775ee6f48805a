//! From a document to something that can be paid, through any crash in between.
//!
//! The order is written before the provider is called. Whatever happens then, the next call for the document
//! finds the order and goes on with the same idempotency key, so that there is one session or intent for one order.

mod draft;
mod provider_side;

use std::sync::Arc;
use std::time::Duration;

use quire_clock::World;
use quire_database::Database;
use quire_fault::{Rule, Violation};
use quire_proto::document::v1::Document;
use tokio::sync::Notify;
use url::Url;

use crate::apply::Scene;
use crate::error::PaymentError;
use crate::inbox;
use crate::inbox::event::Notice;
use crate::peers::Peers;
use crate::pricing::Pricing;
use crate::provider::{ProviderError, Stripe};
use crate::store::entity::orders::{self, Method, Model as Order, OrderStatus};
use crate::store::{self, Awaited};
use crate::transition::{Decision, decide};
use provider_side::Look;

/// The provider refuses sessions that live shorter than 30 minutes; a minute is for clocks that differ.
const SHORTEST_SESSION: Duration = Duration::from_secs(31 * 60);

/// How often and after which wait a checkout is tried again while another is being closed.
const CLOSING_TRIES: u32 = 5;
const CLOSING_WAIT: Duration = Duration::from_millis(200);

/// Opens checkouts and intents. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Checkout {
    pub(crate) database: Database,
    pub(crate) world: World,
    pub(crate) provider: Stripe,
    pub(crate) peers: Peers,
    pub(crate) pricing: Pricing,
    /// The address of the gateway as customers see it; they come back to it.
    pub(crate) public_url: Url,
    /// How long a quote is locked: from 31 minutes to 24 hours.
    pub(crate) life: Duration,
    /// Wakes the relay.
    pub(crate) wake: Arc<Notify>,
}

/// What can be done with an order that was found.
enum Found {
    /// It can be paid.
    Ready(Order),
    /// It can no longer be paid and never was: another takes its place.
    Dead(Order),
}

impl Checkout {
    /// The open order of a document that is paid in this way: the one there is, or a new one. One that was to be paid
    /// in another way is closed first.
    ///
    /// # Errors
    /// The document service's refusal, unchanged; a conflict when the document is paid; or the provider does not
    /// answer, and then the same call goes on later where this one stopped.
    pub(crate) async fn create(
        &self,
        user_id: &str,
        document_id: &str,
        method: Method,
    ) -> Result<Order, PaymentError> {
        for _ in 0..CLOSING_TRIES {
            match self.try_create(user_id, document_id, method).await {
                // The provider's own event about what we have just closed may be faster than we are: its release of the
                // document takes a moment.
                Err(PaymentError::Closing) => tokio::time::sleep(CLOSING_WAIT).await,
                outcome => return outcome,
            }
        }
        Err(PaymentError::Closing)
    }

    async fn try_create(
        &self,
        user_id: &str,
        document_id: &str,
        method: Method,
    ) -> Result<Order, PaymentError> {
        if document_id.is_empty() {
            return Err(PaymentError::Invalid(vec![Violation::new("document_id", Rule::Missing)]));
        }
        if document_id.contains(char::is_control) {
            // PostgreSQL refuses U+0000 instead of not finding it.
            let rule = Rule::Value("control characters are not accepted".to_owned());
            return Err(PaymentError::Invalid(vec![Violation::new("document_id", rule)]));
        }
        let mut dead = None;
        let live = store::live_order(self.database.reader(), document_id).await?;
        // Somebody else's order says nothing to this caller: the document service answers that it is not theirs.
        if let Some(order) = live.filter(|order| order.user_id == user_id) {
            match self.resume(order, method).await? {
                Found::Ready(order) => return Ok(order),
                Found::Dead(order) => dead = Some(order),
            }
        }
        // A release on its way would open the document for changes under the new quote.
        if store::release_is_pending(self.database.reader(), document_id).await? {
            self.wake.notify_one();
            return Err(PaymentError::Closing);
        }
        let document = self.peers.prepare_order(document_id, user_id).await.map_err(PaymentError::Peer)?;
        self.world.reach("payment.checkout.prepared");
        let quote = self.pricing.quote(Some(document.target_pages))?;
        let order = self.write(&document, self.draft(&document, user_id, quote, method), dead).await?;
        self.world.reach("payment.checkout.written");
        match self.resume(order, method).await? {
            Found::Ready(order) => Ok(order),
            // Somebody else's order, which was to be paid in another way, was first, and is closed now.
            Found::Dead(order) if order.method != method => Err(PaymentError::Closing),
            // The provider has stored a failure under the new key; the next call takes another.
            Found::Dead(_) => {
                Err(PaymentError::Provider(ProviderError::Busy { status: 500, retry_after: None }))
            }
        }
    }

    /// What the customer's page needs to confirm the order's intent.
    ///
    /// # Errors
    /// The provider does not answer.
    pub(crate) async fn client_secret(&self, order: &Order) -> Result<String, PaymentError> {
        let Some(intent_id) = &order.intent_id else {
            return Ok(String::new());
        };
        let intent = self.provider.find_payment_intent(intent_id).await?;
        Ok(intent.and_then(|intent| intent.client_secret).unwrap_or_default())
    }

    /// Asks the provider how an unsettled order stands, and does what it says.
    pub(crate) async fn check(&self, order: &Order, overdue: bool) -> Result<(), PaymentError> {
        if order.provider_object().is_none() {
            // Nobody was ever told how to pay.
            return if overdue { self.in_transaction(order, "sweep", None).await } else { Ok(()) };
        }
        let mut look = self.look(order).await?;
        // A session ends by itself; an intent has no end of its own.
        if overdue && order.method == Method::Intent && matches!(look, Look::Open) {
            look = self.close(order).await?;
        }
        let notice = match look {
            Look::Says(notice) => notice,
            // It was being paid, and can be paid again: that did not come to an end, though no event has said so.
            Look::Open if order.method == Method::Intent && order.status == OrderStatus::Processing => {
                Notice::Failed { object_id: order.provider_object().unwrap_or_default().to_owned() }
            }
            Look::Open => return Ok(()),
            // Before its time is up it may be the provider's address or key that is wrong.
            Look::Unknown if overdue => {
                Notice::Expired { object_id: order.provider_object().unwrap_or_default().to_owned() }
            }
            Look::Unknown => {
                tracing::warn!(order = order.id, "the provider does not know what pays an order");
                return Ok(());
            }
        };
        self.in_transaction(order, "sweep", Some(&notice)).await
    }

    /// What the provider says of an unsettled order that the order does not say; nothing if they agree.
    ///
    /// # Errors
    /// The provider does not answer.
    pub(crate) async fn difference(&self, order: &Order) -> Result<Option<&'static str>, PaymentError> {
        if order.provider_object().is_none() {
            return Ok(None);
        }
        Ok(match self.look(order).await? {
            Look::Says(notice) if decide(order, &notice, false) != Decision::Nothing => Some(notice.name()),
            Look::Says(_) | Look::Open | Look::Unknown => None,
        })
    }

    /// Applies a notice, or expires the order when there is none.
    pub(crate) async fn in_transaction(
        &self,
        order: &Order,
        actor: &str,
        notice: Option<&Notice>,
    ) -> Result<(), PaymentError> {
        let txn = self.database.begin_write().await?;
        let Some(mut order) = store::lock_order(&txn, &order.id).await? else {
            return Ok(());
        };
        let scene = Scene { txn: &txn, world: &self.world, actor };
        match notice {
            Some(notice) => {
                let applied = scene.apply(&mut order, notice).await?;
                if let Some(payment_id) = &applied.new_payment {
                    inbox::wake(&scene, Awaited::Payment(payment_id)).await?;
                }
            }
            None if order.status == OrderStatus::Open && order.provider_object().is_none() => {
                scene.expire(&mut order, "NEVER_OPENED").await?;
            }
            None => return Ok(()),
        }
        txn.commit().await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Goes on with an order where an earlier call stopped.
    async fn resume(&self, order: Order, method: Method) -> Result<Found, PaymentError> {
        match order.status {
            OrderStatus::Open => {}
            OrderStatus::Paid | OrderStatus::Delivered => return Err(PaymentError::AlreadyPaid),
            OrderStatus::Processing => return Err(PaymentError::PaymentProcessing),
            OrderStatus::Quarantined => return Err(PaymentError::Quarantined),
            OrderStatus::Expired | OrderStatus::RefundPending | OrderStatus::Refunded => {
                return Ok(Found::Dead(order));
            }
        }
        let now = self.world.now();
        if order.provider_object().is_none() {
            if now.plus(SHORTEST_SESSION).unix_micros() > order.expires_at {
                return Ok(Found::Dead(order));
            }
            // Also when it was to be paid in another way: what the lost call made at the provider must be known first.
            let opened = self.open(order).await?;
            return match opened {
                Found::Ready(order) if order.method != method => self.replace(order).await,
                opened => Ok(opened),
            };
        }
        if order.method != method {
            return self.replace(order).await;
        }
        if now.unix_micros() < order.expires_at {
            return Ok(Found::Ready(order));
        }
        match self.look(&order).await? {
            Look::Open if order.method == Method::Intent => self.replace(order).await,
            Look::Open => Ok(Found::Ready(order)),
            look => self.ended(order, look).await,
        }
    }

    /// Closes what can be paid, so that another order may take its place.
    async fn replace(&self, order: Order) -> Result<Found, PaymentError> {
        match self.close(&order).await? {
            // It did not close: whoever pays it now pays this order.
            Look::Open => Err(PaymentError::Closing),
            look => self.ended(order, look).await,
        }
    }

    /// What to do with an order that is no longer open at the provider.
    async fn ended(&self, order: Order, look: Look) -> Result<Found, PaymentError> {
        match look {
            // The new order takes its place in one transaction, without releasing the document between.
            Look::Says(Notice::Expired { .. }) | Look::Unknown | Look::Open => Ok(Found::Dead(order)),
            Look::Says(notice) => {
                self.in_transaction(&order, "checkout", Some(&notice)).await?;
                let order = store::order(self.database.reader(), &order.id).await?;
                match order.map(|order| order.status) {
                    Some(OrderStatus::Processing) => Err(PaymentError::PaymentProcessing),
                    Some(OrderStatus::Quarantined) => Err(PaymentError::Quarantined),
                    _ => Err(PaymentError::AlreadyPaid),
                }
            }
        }
    }

    /// Writes the order, in place of a dead one if there is, or finds the one that a concurrent call has written.
    async fn write(
        &self,
        document: &Document,
        order: Order,
        dead: Option<Order>,
    ) -> Result<Order, PaymentError> {
        let txn = self.database.begin_write().await?;
        if let Some(dead) = dead {
            let dead = store::lock_order(&txn, &dead.id).await?;
            let Some(mut dead) = dead.filter(|order| order.status == OrderStatus::Open) else {
                // It was paid or has expired in the meantime; then a release may be on its way, which would open the
                // document for changes under the new quote.
                txn.rollback().await?;
                return Err(PaymentError::Closing);
            };
            let scene = Scene { txn: &txn, world: &self.world, actor: "checkout" };
            let nothing = orders::ActiveModel::default();
            scene.advance(&mut dead, nothing, OrderStatus::Expired, "REPLACED").await?;
        }
        store::serialize_on(&txn, &order.id).await?;
        if !store::insert_order(&txn, &order).await? {
            txn.rollback().await?;
            let live = store::live_order(self.database.reader(), &document.id).await?;
            return live.ok_or(PaymentError::Closing);
        }
        let scene = Scene { txn: &txn, world: &self.world, actor: "checkout" };
        inbox::wake(&scene, Awaited::Order(&order.id)).await?;
        // An event that waited for it may have changed it.
        let order = store::order(&txn, &order.id).await?.ok_or(PaymentError::OrderNotFound)?;
        txn.commit().await?;
        self.wake.notify_one();
        Ok(order)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use quire_identity::{MasterSecret, ServiceIdentity};
    use quire_migrations::PaymentMigrator;
    use quire_serve::client::channel;
    use quire_testkit::{Backend, TestDatabase};
    use secrecy::SecretString;

    use super::*;
    use crate::currency::Currency;
    use crate::provider::ProviderSettings;

    /// A checkout on an empty database, with a provider at `provider` and no peers.
    pub(crate) async fn checkout(backend: Backend, provider: &str) -> (Checkout, TestDatabase) {
        let file = backend.create().await;
        let settings = quire_database::Settings {
            url: file.url().to_owned(),
            schema: "payment".to_owned(),
            max_connections: 4,
        };
        let database = quire_database::open(&settings).await.unwrap();
        database.migrate::<PaymentMigrator>().await.unwrap();
        let world = World::system();
        let provider =
            ProviderSettings { url: Url::parse(provider).unwrap(), api_key: SecretString::from("sk_test") };
        let master = MasterSecret::new(SecretString::from("0123456789abcdef0123456789abcdef")).unwrap();
        let identity = ServiceIdentity::new("payment", world.clone(), &master);
        let nowhere = || channel("http://127.0.0.1:1").unwrap();
        let checkout = Checkout {
            database,
            provider: Stripe::new(&provider, world.clone()).unwrap(),
            peers: Peers::new(nowhere(), nowhere(), identity),
            pricing: Pricing {
                page_minor: 50,
                currency: Currency::parse("eur").unwrap(),
                min_pages: 3,
                max_pages: 100,
            },
            public_url: Url::parse("https://quire.example").unwrap(),
            life: Duration::from_secs(24 * 3600),
            wake: Arc::default(),
            world,
        };
        (checkout, file)
    }

    /// Stores an open order of a document of its own, created and over at the beginning of time.
    pub(crate) async fn insert(checkout: &Checkout, change: impl FnOnce(&mut Order)) -> Order {
        let document = Document { id: checkout.world.id(), ..Default::default() };
        let quote = checkout.pricing.quote(Some(12)).unwrap();
        let mut order = checkout.draft(&document, "ada", quote, Method::Checkout);
        (order.checked_at, order.expires_at) = (0, 0);
        change(&mut order);
        let txn = checkout.database.begin_write().await.unwrap();
        assert!(store::insert_order(&txn, &order).await.unwrap());
        txn.commit().await.unwrap();
        order
    }

    fn draft(checkout: &Checkout, document: &Document) -> Order {
        let quote = checkout.pricing.quote(Some(12)).unwrap();
        checkout.draft(document, "ada", quote, Method::Checkout)
    }

    async fn no_order_takes_the_place_of_one_that_is_being_released(backend: Backend) {
        let (checkout, _file) = checkout(backend, "http://127.0.0.1:1").await;
        let dead = insert(&checkout, |_| {}).await;
        // The sweep ends it after the checkout has found it and before it is replaced.
        checkout.in_transaction(&dead, "sweep", None).await.unwrap();
        let document = Document { id: dead.document_id.clone(), ..Default::default() };
        let written = checkout.write(&document, draft(&checkout, &document), Some(dead.clone())).await;
        assert!(matches!(written, Err(PaymentError::Closing)));
        let reader = checkout.database.reader();
        assert_eq!(store::live_order(reader, &dead.document_id).await.unwrap(), None);

        let open = insert(&checkout, |_| {}).await;
        let document = Document { id: open.document_id.clone(), ..Default::default() };
        let written =
            checkout.write(&document, draft(&checkout, &document), Some(open.clone())).await.unwrap();
        let live = store::live_order(checkout.database.reader(), &open.document_id).await.unwrap();
        assert_eq!(live.map(|order| order.id), Some(written.id));
    }

    async fn an_order_that_was_paid_before_it_was_written_is_not_opened(backend: Backend) {
        let (checkout, _file) = checkout(backend, "http://127.0.0.1:1").await;
        let document = Document { id: checkout.world.id(), ..Default::default() };
        let order = draft(&checkout, &document);
        let object = serde_json::json!({
            "id": "pi_1", "amount_received": 600, "currency": "eur", "metadata": { "order_id": order.id },
        });
        let event = serde_json::json!({
            "id": "evt_1", "type": "payment_intent.succeeded", "data": { "object": object },
        });
        let inbox = inbox::Inbox {
            database: checkout.database.clone(),
            world: checkout.world.clone(),
            seen: quire_limit::SeenKeys::None,
            livemode: None,
            wake: Arc::default(),
        };
        inbox.take_in(event.to_string().as_bytes()).await.unwrap();
        let written = checkout.write(&document, order, None).await.unwrap();
        assert_eq!(written.status, OrderStatus::Paid);
        assert!(matches!(checkout.resume(written, Method::Checkout).await, Err(PaymentError::AlreadyPaid)));
    }

    quire_testkit::on_both_databases!(
        no_order_takes_the_place_of_one_that_is_being_released,
        an_order_that_was_paid_before_it_was_written_is_not_opened,
    );
}
