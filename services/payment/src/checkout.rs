//! From a document to a checkout that can be paid, through any crash in between.
//!
//! The order is written before the provider is called. Whatever happens then, the next call for the document
//! finds the order and goes on with the same idempotency key, so that there is one session for one order.

use std::sync::Arc;
use std::time::Duration;

use quire_clock::World;
use quire_database::Database;
use quire_fault::{Rule, Violation};
use quire_proto::document::v1::Document;
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use tokio::sync::Notify;
use url::Url;

use crate::apply::Scene;
use crate::error::PaymentError;
use crate::event::Notice;
use crate::peers::Peers;
use crate::pricing::{Pricing, Quote};
use crate::provider::{ProviderError, SessionStatus, Stripe};
use crate::store;
use crate::store::entity::orders::{self, Model as Order, OrderStatus};
use crate::webhook::wake_parked;

/// The provider refuses sessions that live shorter than 30 minutes; a minute is for clocks that differ.
const SHORTEST_SESSION: Duration = Duration::from_secs(31 * 60);
/// The provider refuses sessions that live longer than 24 hours; its clock may be behind ours.
const CLOCK_MARGIN: Duration = Duration::from_secs(60);
/// Characters of the title shown on the provider's page.
const MAX_TITLE: usize = 120;

/// Opens checkouts.
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
    /// The open checkout of a document: the one there is, or a new one.
    ///
    /// # Errors
    /// The document service's refusal, unchanged; a conflict when the document is paid; or the provider does not
    /// answer, and then the same call goes on later where this one stopped.
    pub(crate) async fn create(&self, user_id: &str, document_id: &str) -> Result<Order, PaymentError> {
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
            match self.resume(order).await? {
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
        let quote = self.pricing.quote(Some(document.target_pages))?;
        let order = self.write(&document, user_id, quote, dead).await?;
        match self.resume(order).await? {
            Found::Ready(order) => Ok(order),
            // The provider has stored a failure under the new key; the next call takes another.
            Found::Dead(_) => {
                Err(PaymentError::Provider(ProviderError::Busy { status: 500, retry_after: None }))
            }
        }
    }

    /// Asks the provider how the session of an unsettled order stands, and does what it says.
    pub(crate) async fn check(&self, order: &Order, overdue: bool) -> Result<(), PaymentError> {
        let Some(session_id) = &order.checkout_session_id else {
            // Nobody was ever told where to pay.
            return if overdue { self.in_transaction(order, "sweep", None).await } else { Ok(()) };
        };
        let notice = match self.provider.find_checkout_session(session_id).await? {
            Some(session) => Notice::of_session(session),
            // Before its time is up it may be the provider's address or key that is wrong.
            None if overdue => Some(Notice::Expired { session_id: session_id.clone() }),
            None => {
                tracing::warn!(order = order.id, "the provider does not know the session of an order");
                None
            }
        };
        match notice {
            Some(notice) => self.in_transaction(order, "sweep", Some(&notice)).await,
            None => Ok(()),
        }
    }

    /// Applies a notice, or expires the order when there is none.
    async fn in_transaction(
        &self,
        order: &Order,
        actor: &str,
        notice: Option<&Notice>,
    ) -> Result<(), PaymentError> {
        let txn = self.database.begin_write().await?;
        let Some(order) = store::lock_order(&txn, &order.id).await? else {
            return Ok(());
        };
        let scene = Scene { txn: &txn, world: &self.world, actor };
        match notice {
            Some(notice) => {
                scene.apply(&order, notice).await?;
            }
            None if order.status == OrderStatus::Open && order.checkout_session_id.is_none() => {
                scene.expire(&order, "NEVER_OPENED").await?;
            }
            None => return Ok(()),
        }
        txn.commit().await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Goes on with an order where an earlier call stopped.
    async fn resume(&self, order: Order) -> Result<Found, PaymentError> {
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
        let Some(session_id) = order.checkout_session_id.clone() else {
            if now.plus(SHORTEST_SESSION).unix_micros() > order.expires_at {
                return Ok(Found::Dead(order));
            }
            return self.open_session(order).await;
        };
        if now.unix_micros() < order.expires_at {
            return Ok(Found::Ready(order));
        }
        let Some(session) = self.provider.find_checkout_session(&session_id).await? else {
            return Ok(Found::Dead(order));
        };
        if session.status == Some(SessionStatus::Open) {
            return Ok(Found::Ready(order));
        }
        match Notice::of_session(session) {
            // The new order takes its place in one transaction, without releasing the document between.
            Some(Notice::Expired { .. }) | None => Ok(Found::Dead(order)),
            Some(notice) => {
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

    /// Calls the provider, always with the same key and body for the same order, and stores what it answers.
    async fn open_session(&self, order: Order) -> Result<Found, PaymentError> {
        let key = format!("checkout:{}", order.id);
        let session = match self.provider.create_checkout_session(&key, &order.provider_request).await {
            Ok(session) => session,
            Err(ProviderError::KeySpent) => return Ok(Found::Dead(order)),
            Err(error) => return Err(error.into()),
        };
        let expires_at = session.expires_at.map(|seconds| seconds.saturating_mul(1_000_000));
        let columns = orders::ActiveModel {
            checkout_session_id: Set(Some(session.id)),
            checkout_url: Set(session.url),
            expires_at: Set(expires_at.unwrap_or(order.expires_at)),
            ..Default::default()
        };
        let txn = self.database.begin_write().await?;
        orders::Entity::update_many()
            .set(columns)
            .filter(orders::Column::Id.eq(&order.id))
            .filter(orders::Column::CheckoutSessionId.is_null())
            .exec(&txn)
            .await?;
        let stored = store::order(&txn, &order.id).await?;
        txn.commit().await?;
        stored.map(Found::Ready).ok_or(PaymentError::OrderNotFound)
    }

    /// Writes the order, in place of a dead one if there is, or finds the one that a concurrent call has written.
    async fn write(
        &self,
        document: &Document,
        user_id: &str,
        quote: Quote,
        dead: Option<Order>,
    ) -> Result<Order, PaymentError> {
        let order = self.draft(document, user_id, quote);
        let txn = self.database.begin_write().await?;
        if let Some(dead) = dead {
            let dead = store::lock_order(&txn, &dead.id).await?;
            let Some(dead) = dead.filter(|order| order.status == OrderStatus::Open) else {
                // It was paid or has expired in the meantime; then a release may be on its way, which would open the
                // document for changes under the new quote.
                txn.rollback().await?;
                return Err(PaymentError::Closing);
            };
            let scene = Scene { txn: &txn, world: &self.world, actor: "checkout" };
            scene.advance(&dead, orders::ActiveModel::default(), OrderStatus::Expired, "REPLACED").await?;
        }
        store::serialize_on_order(&txn, &order.id).await?;
        if !store::insert_order(&txn, &order).await? {
            txn.rollback().await?;
            let live = store::live_order(self.database.reader(), &document.id).await?;
            return live.ok_or(PaymentError::Closing);
        }
        let tasks = wake_parked(&txn, &self.world, &order.id).await?;
        txn.commit().await?;
        if tasks {
            self.wake.notify_one();
        }
        Ok(order)
    }

    fn draft(&self, document: &Document, user_id: &str, quote: Quote) -> Order {
        let id = self.world.id();
        let now = self.world.now();
        let expires_at = now.plus(self.life);
        Order {
            provider_request: self.form(&id, document, quote, expires_at.minus(CLOCK_MARGIN).unix_seconds()),
            id,
            document_id: document.id.clone(),
            user_id: user_id.to_owned(),
            pages: quote.pages,
            unit_minor: quote.unit_minor,
            amount_minor: quote.total_minor,
            currency: quote.currency.code().to_owned(),
            status: OrderStatus::Open,
            checkout_session_id: None,
            checkout_url: None,
            provider_payment_id: None,
            job_id: None,
            created_at: now.unix_micros(),
            paid_at: None,
            expires_at: expires_at.unix_micros(),
            checked_at: now.unix_micros(),
        }
    }

    /// The body of the provider request. The ids are in the metadata of the session and of the payment, since
    /// each kind of event shows only one of them.
    fn form(&self, order_id: &str, document: &Document, quote: Quote, expires_at_seconds: i64) -> String {
        let title: String =
            document.title.chars().filter(|letter| !letter.is_control()).take(MAX_TITLE).collect();
        let title = if title.trim().is_empty() { "Document".to_owned() } else { title };
        let price = quote.currency.show(quote.unit_minor);
        let back = |page: &str| {
            let base = self.public_url.as_str().trim_end_matches('/');
            format!("{base}/payment/{page}?order_id={order_id}")
        };
        url::form_urlencoded::Serializer::new(String::new())
            .append_pair("mode", "payment")
            .append_pair("client_reference_id", order_id)
            .append_pair("metadata[order_id]", order_id)
            .append_pair("metadata[document_id]", &document.id)
            .append_pair("payment_intent_data[metadata][order_id]", order_id)
            .append_pair("payment_intent_data[metadata][document_id]", &document.id)
            .append_pair("line_items[0][quantity]", &quote.pages.to_string())
            .append_pair("line_items[0][price_data][currency]", &quote.currency.code().to_ascii_lowercase())
            .append_pair("line_items[0][price_data][unit_amount]", &quote.unit_minor.to_string())
            .append_pair("line_items[0][price_data][product_data][name]", &title)
            .append_pair(
                "line_items[0][price_data][product_data][description]",
                &format!("{} pages at {price} each", quote.pages),
            )
            .append_pair("success_url", &back("success"))
            .append_pair("cancel_url", &back("cancel"))
            .append_pair("expires_at", &expires_at_seconds.to_string())
            .finish()
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
        let mut order = checkout.draft(&document, "ada", quote);
        (order.checked_at, order.expires_at) = (0, 0);
        change(&mut order);
        let txn = checkout.database.begin_write().await.unwrap();
        assert!(store::insert_order(&txn, &order).await.unwrap());
        txn.commit().await.unwrap();
        order
    }

    async fn no_order_takes_the_place_of_one_that_is_being_released(backend: Backend) {
        let (checkout, _file) = checkout(backend, "http://127.0.0.1:1").await;
        let dead = insert(&checkout, |_| {}).await;
        // The sweep ends it after the checkout has found it and before it is replaced.
        checkout.in_transaction(&dead, "sweep", None).await.unwrap();
        let document = Document { id: dead.document_id.clone(), ..Default::default() };
        let quote = checkout.pricing.quote(Some(12)).unwrap();
        let written = checkout.write(&document, "ada", quote, Some(dead.clone())).await;
        assert!(matches!(written, Err(PaymentError::Closing)));
        let reader = checkout.database.reader();
        assert_eq!(store::live_order(reader, &dead.document_id).await.unwrap(), None);

        let open = insert(&checkout, |_| {}).await;
        let document = Document { id: open.document_id.clone(), ..Default::default() };
        let written = checkout.write(&document, "ada", quote, Some(open.clone())).await.unwrap();
        let live = store::live_order(checkout.database.reader(), &open.document_id).await.unwrap();
        assert_eq!(live.map(|order| order.id), Some(written.id));
    }

    quire_testkit::on_both_databases!(no_order_takes_the_place_of_one_that_is_being_released);
}
