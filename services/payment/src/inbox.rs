//! The inbox: every event of the provider once, stored and applied in one transaction.
//!
//! Received (applying it failed, it is tried again), parked (it came before its order or payment), done, ignored,
//! quarantined, dead. What is stored is answered with success; nothing else is.

pub(crate) mod event;
pub(crate) mod retry;
pub(crate) mod webhook;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use quire_clock::World;
use quire_database::Database;
use quire_limit::SeenKeys;
use sea_orm::{DatabaseTransaction, TransactionTrait};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::apply::{Applied, Scene};
use crate::books::payments;
use crate::error::PaymentError;
use crate::store::entity::inbox::{self, InboxStatus};
use crate::store::{self, Awaited};
use event::{Event, Fact, Notice, Subject};

/// The provider repeats an event for three days.
const SEEN_FOR: Duration = Duration::from_secs(4 * 24 * 3600);

/// The error of an event that broke the program.
const PANICKED: &str = "panicked";

/// Takes in events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Inbox {
    pub(crate) database: Database,
    pub(crate) world: World,
    pub(crate) seen: SeenKeys,
    /// Whether the account's events are about real money, if that is known.
    pub(crate) livemode: Option<bool>,
    /// Wakes the relay.
    pub(crate) wake: Arc<Notify>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stored {
        status: InboxStatus,
        reason: &'static str,
    },
    Duplicate,
    /// Stored; applying it is tried again here.
    Deferred,
}

impl Inbox {
    /// Stores an event and does what it calls for. A repeated event changes nothing.
    ///
    /// # Errors
    /// The body is no event, or the database does not answer, and then nothing is stored.
    pub(crate) async fn take_in(&self, body: &[u8]) -> Result<Verdict, PaymentError> {
        let event = Event::parse(body)?;
        let key = format!("webhook:{}", event.id);
        // Redis only tells where to look first, since it may remember what the database does not: a hit spares
        // the write transaction, but the row decides.
        if self.seen.seen(&key).await
            && let Some(row) = store::event(self.database.reader(), &event.id).await?
            && !is_unfinished(row.status)
        {
            return Ok(Verdict::Duplicate);
        }
        let stored = AssertUnwindSafe(self.store(&event, body)).catch_unwind().await;
        let applied = match stored {
            Ok(Ok(Some(applied))) => applied,
            Ok(Ok(None)) => return self.take_in_again(&event).await,
            Ok(Err(error)) if error.may_pass() => return Err(error),
            Ok(Err(error)) => return self.defer(&event, body, &error.to_string()).await,
            Err(_) => return self.defer(&event, body, PANICKED).await,
        };
        self.world.reach("payment.webhook.committed");
        self.wake.notify_one();
        if applied.status == InboxStatus::Done {
            self.seen.remember(&key, SEEN_FOR).await;
        }
        tracing::info!(event = event.id, kind = event.kind, status = ?applied.status, reason = applied.reason, "event stored");
        Ok(Verdict::Stored { status: applied.status, reason: applied.reason })
    }

    /// One transaction. Nothing: the event was stored before.
    async fn store(&self, event: &Event, body: &[u8]) -> Result<Option<Applied>, PaymentError> {
        let txn = self.database.begin_write().await?;
        if !store::insert_event(&txn, self.row(event, body)?).await? {
            return Ok(None);
        }
        self.world.reach("payment.webhook.stored");
        let applied = self.apply(&txn, event).await?;
        store::finish_event(&txn, &event.id, applied.status, applied.reason).await?;
        self.world.reach("payment.webhook.applied");
        txn.commit().await?;
        Ok(Some(applied))
    }

    /// A duplicate, unless applying the first one failed: then whoever sends it again wants it tried again.
    async fn take_in_again(&self, event: &Event) -> Result<Verdict, PaymentError> {
        let row = store::event(self.database.reader(), &event.id).await?;
        match row {
            Some(row) if is_unfinished(row.status) => Ok(retry::again(self, &row).await?),
            _ => Ok(Verdict::Duplicate),
        }
    }

    /// Stores an event that could not be applied, to be tried again.
    async fn defer(&self, event: &Event, body: &[u8], error: &str) -> Result<Verdict, PaymentError> {
        tracing::error!(event = event.id, kind = event.kind, error, "an event could not be applied");
        let txn = self.database.begin_write().await?;
        let row = inbox::Model {
            attempts: 1,
            next_at: self.world.now().plus(retry::FIRST_WAIT).unix_micros(),
            last_error: error.to_owned(),
            ..self.row(event, body)?
        };
        let stored = store::insert_event(&txn, row).await?;
        txn.commit().await?;
        Ok(if stored { Verdict::Deferred } else { Verdict::Duplicate })
    }

    fn row(&self, event: &Event, body: &[u8]) -> Result<inbox::Model, PaymentError> {
        let (order_id, payment_id) = match &event.subject {
            Subject::Ignored(_) | Subject::Suspect(_) => (None, None),
            Subject::Order { order_id, .. } => (Some(order_id.clone()), None),
            Subject::Payment { payment_id, .. } => (None, Some(payment_id.clone())),
        };
        Ok(inbox::Model {
            event_id: event.id.clone(),
            kind: event.kind.clone(),
            payload: String::from_utf8(body.to_vec()).map_err(|_| PaymentError::Payload)?,
            sha256: hex::encode(Sha256::digest(body)),
            status: InboxStatus::Received,
            reason: String::new(),
            order_id,
            received_at: self.world.now().unix_micros(),
            payment_id,
            attempts: 0,
            next_at: 0,
            last_error: String::new(),
        })
    }

    /// Does what an event calls for, and what waited for that.
    pub(crate) async fn apply(
        &self,
        txn: &DatabaseTransaction,
        event: &Event,
    ) -> Result<Applied, PaymentError> {
        if let (Some(ours), Some(its)) = (self.livemode, event.livemode)
            && ours != its
        {
            return Ok(Applied::with(InboxStatus::Ignored, "LIVEMODE_MISMATCH"));
        }
        let scene = Scene { txn, world: &self.world, actor: &event.id };
        let applied = apply(&scene, &event.subject).await?;
        if let Some(payment_id) = &applied.new_payment {
            wake(&scene, Awaited::Payment(payment_id)).await?;
        }
        Ok(applied)
    }
}

fn is_unfinished(status: InboxStatus) -> bool {
    matches!(status, InboxStatus::Received | InboxStatus::Dead)
}

async fn apply(scene: &Scene<'_>, subject: &Subject) -> Result<Applied, PaymentError> {
    match subject {
        Subject::Ignored(reason) => Ok(Applied::with(InboxStatus::Ignored, reason)),
        Subject::Suspect(reason) => {
            tracing::error!(event = scene.actor, reason, "an event cannot be right");
            Ok(Applied::with(InboxStatus::Quarantined, reason))
        }
        Subject::Order { order_id, notice } => on_order(scene, order_id, notice).await,
        Subject::Payment { payment_id, fact } => on_payment(scene, payment_id, fact).await,
    }
}

async fn on_order(scene: &Scene<'_>, order_id: &str, notice: &Notice) -> Result<Applied, PaymentError> {
    let mut order = store::lock_order(scene.txn, order_id).await?;
    if order.is_none() {
        // Perhaps it is being created right now: then this waits and looks again.
        store::serialize_on(scene.txn, order_id).await?;
        order = store::lock_order(scene.txn, order_id).await?;
    }
    match order {
        Some(mut order) => scene.apply(&mut order, notice).await,
        None => Ok(Applied::with(InboxStatus::Parked, "ORDER_UNKNOWN")),
    }
}

async fn on_payment(scene: &Scene<'_>, payment_id: &str, fact: &Fact) -> Result<Applied, PaymentError> {
    let mut payment = payments::find(scene.txn, payment_id).await?;
    if payment.is_none() {
        // As above: whoever enters the payment right now is waited for.
        store::serialize_on(scene.txn, payment_id).await?;
        payment = payments::find(scene.txn, payment_id).await?;
    }
    let Some(payment) = payment else {
        return Ok(Applied::with(InboxStatus::Parked, "PAYMENT_UNKNOWN"));
    };
    let mut order =
        store::lock_order(scene.txn, &payment.order_id).await?.ok_or(PaymentError::OrderNotFound)?;
    // Read again under the lock of its order, which all changes of a payment hold.
    let payment = payments::find(scene.txn, payment_id).await?.ok_or(PaymentError::PaymentNotFound)?;
    scene.learn(&mut order, payment, fact).await
}

/// Applies the events that came before what they are about; call it in the transaction that stores that, after
/// [`store::serialize_on`]. One that cannot be applied is left to the retries.
pub(crate) async fn wake(scene: &Scene<'_>, awaited: Awaited<'_>) -> Result<(), PaymentError> {
    let mut waiting = VecDeque::from(store::parked_events(scene.txn, awaited).await?);
    while let Some(row) = waiting.pop_front() {
        if let Some(payment_id) = wake_one(scene, &row).await? {
            waiting.extend(store::parked_events(scene.txn, Awaited::Payment(&payment_id)).await?);
        }
    }
    Ok(())
}

/// In a savepoint: what fails here must not fail what it waited for. Answers a payment that it has made known.
async fn wake_one(scene: &Scene<'_>, row: &inbox::Model) -> Result<Option<String>, PaymentError> {
    let savepoint = scene.txn.begin().await?;
    let inner = Scene { txn: &savepoint, world: scene.world, actor: &row.event_id };
    let applied = async {
        let applied = apply(&inner, &Event::parse(row.payload.as_bytes())?.subject).await?;
        store::finish_event(inner.txn, &row.event_id, applied.status, applied.reason).await?;
        Ok(applied.new_payment)
    };
    let error = match AssertUnwindSafe(applied).catch_unwind().await {
        Ok(Ok(new_payment)) => {
            savepoint.commit().await?;
            return Ok(new_payment);
        }
        Ok(Err(error)) if PaymentError::may_pass(&error) => return Err(error),
        Ok(Err(error)) => error.to_string(),
        Err(_) => PANICKED.to_owned(),
    };
    savepoint.rollback().await?;
    retry::put_off(scene.txn, scene.world, row, error).await?;
    Ok(None)
}
