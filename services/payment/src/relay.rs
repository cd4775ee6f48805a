//! Does the tasks of the outbox, at least once each; every receiver has its own key against doing one twice.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use quire_clock::World;
use quire_database::Database;
use quire_fault::{Fault, Kind};
use quire_proto::job::v1::StartJobRequest;
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::apply::Scene;
use crate::books::{disputes, payments, refunds};
use crate::error::PaymentError;
use crate::inbox::event::{Fact, ProviderRefund, RefundWord};
use crate::outbox::{self, Task};
use crate::peers::Peers;
use crate::provider::{ProviderError, RefundRequest, Stripe};
use crate::store;
use crate::store::entity::orders;
use crate::store::entity::outbox::Model as Row;
use crate::store::entity::refunds::RefundStatus;

/// Another process may have written a task, or a wait may be over.
const POLL: Duration = Duration::from_millis(500);
/// Tasks that are done at the same time.
const BATCH: u64 = 16;
/// Shorter than the lease, so that nobody else starts while this one still tries.
const SEND_DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Relay {
    pub(crate) database: Database,
    pub(crate) world: World,
    pub(crate) provider: Stripe,
    pub(crate) peers: Peers,
    pub(crate) wake: Arc<Notify>,
}

/// What a task has brought about.
enum Effect {
    Nothing,
    JobStarted {
        job_id: String,
    },
    /// What the provider says about the refunds of a payment.
    Refunded {
        refund_id: String,
        words: Vec<ProviderRefund>,
    },
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("{}: {}", .0.reason, .0.message)]
    Peer(Fault),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("a stored task cannot be read")]
    Task(#[from] serde_json::Error),
    #[error("no answer in time")]
    Deadline,
    #[error("the database failed")]
    Database(#[from] DbErr),
    #[error("{0}")]
    Books(String),
    /// Nothing went wrong; it is only too early. Either the books know, or only the provider does yet.
    #[error("a dispute of the payment is open")]
    Disputed { at_provider: bool },
    #[error("the job is not known yet")]
    JobUnknown,
}

impl SendError {
    /// Whether the same idempotency key can only bring the same answer again.
    fn spends_key(&self) -> bool {
        match self {
            Self::Provider(error) => error.spends_key(),
            Self::Disputed { at_provider } => *at_provider,
            _ => false,
        }
    }

    /// Whether the receiver will never accept the task as it is.
    fn for_good(&self) -> bool {
        match self {
            Self::Peer(fault) => matches!(fault.kind, Kind::Invalid | Kind::Malformed | Kind::Precondition),
            Self::Provider(error) => error.for_good(),
            Self::Task(_) => true,
            Self::Deadline
            | Self::Database(_)
            | Self::Books(_)
            | Self::Disputed { .. }
            | Self::JobUnknown => false,
        }
    }

    fn too_early(&self) -> bool {
        matches!(self, Self::Disputed { .. })
    }
}

impl Relay {
    /// Works until the shutdown. Several processes may run one each.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let claimed = match outbox::claim(&self.database, BATCH).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read");
                    Vec::new()
                }
            };
            if claimed.is_empty() {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(POLL) => {}
                }
                continue;
            }
            self.world.reach("payment.relay.claimed");
            join_all(claimed.iter().map(|row| self.deliver(row))).await;
        }
    }

    async fn deliver(&self, row: &Row) {
        let sent =
            tokio::time::timeout(SEND_DEADLINE, self.send(row)).await.unwrap_or(Err(SendError::Deadline));
        self.world.reach("payment.relay.sent");
        let outcome = match sent {
            Ok(effect) => self.record(row, effect).await,
            Err(error) => {
                let failure = outbox::Failure {
                    error: &error.to_string(),
                    key_spent: error.spends_key(),
                    for_good: error.for_good(),
                    too_early: error.too_early(),
                };
                outbox::postpone(&self.database, &self.world, row, failure).await.map_err(PaymentError::from)
            }
        };
        if let Err(error) = outcome {
            // The lease runs out and the task is done again, which its receiver does not mind.
            tracing::warn!(intent = row.intent, error = %error, "the outcome of a task cannot be stored");
        }
    }

    async fn send(&self, row: &Row) -> Result<Effect, SendError> {
        match serde_json::from_str::<Task>(&row.payload)? {
            Task::StartJob { user_id, pages } => {
                let request = StartJobRequest {
                    order_id: row.order_id.clone(),
                    document_id: row.document_id.clone(),
                    user_id,
                    pages,
                };
                let job_id = self.peers.start_job(request).await.map_err(SendError::Peer)?;
                Ok(Effect::JobStarted { job_id })
            }
            Task::ReleaseDocument => {
                self.peers.release_order(&row.document_id).await.map_err(SendError::Peer)?;
                Ok(Effect::Nothing)
            }
            Task::CancelJob => self.cancel_job(&row.order_id).await,
            Task::Refund { refund_id } => self.refund(row, refund_id).await,
        }
    }

    /// Stops the job of an order, if there is one or may be one on its way.
    async fn cancel_job(&self, order_id: &str) -> Result<Effect, SendError> {
        // Looked up first: what is sent after the answer is not on its way.
        let started = outbox::is_done(self.database.reader(), &outbox::start_intent(order_id)).await?;
        match self.peers.cancel_order_job(order_id).await {
            Ok(()) => Ok(Effect::Nothing),
            Err(fault) if fault.kind == Kind::NotFound && started => Ok(Effect::Nothing),
            Err(fault) if fault.kind == Kind::NotFound => Err(SendError::JobUnknown),
            Err(fault) => Err(SendError::Peer(fault)),
        }
    }

    /// Asks the provider to send money back, never more than is left.
    async fn refund(&self, row: &Row, refund_id: String) -> Result<Effect, SendError> {
        let reader = self.database.reader();
        let Some(refund) = refunds::find(reader, &refund_id).await? else {
            return Ok(Effect::Nothing);
        };
        if refund.status != RefundStatus::Pending {
            return Ok(Effect::Nothing);
        }
        let books = |error: PaymentError| SendError::Books(error.to_string());
        let payment = refunds::payment_of(reader, &refund).await.map_err(books)?;
        if disputes::is_open(reader, &payment.id).await? {
            return Err(SendError::Disputed { at_provider: false });
        }
        let lost = disputes::lost(reader, &payment.id).await?;
        let amount_minor = refund.amount_minor.min(payment.amount_minor - payment.refunded_minor - lost);
        if amount_minor <= 0 || row.attempts > 1 {
            // Perhaps it was made and only the answer was lost. The key is no help: the provider may have forgotten it, and
            // what is left may have become less by this very refund.
            let words = self.provider.list_refunds(&payment.id).await?;
            let made = |word: &ProviderRefund| {
                word.refund_id.as_deref() == Some(&refund_id) && word.word != RefundWord::Failed
            };
            if amount_minor <= 0 || words.iter().any(made) {
                return Ok(Effect::Refunded { refund_id, words });
            }
        }
        let request = RefundRequest {
            payment_id: &payment.id,
            amount_minor,
            order_id: &row.order_id,
            refund_id: &refund_id,
        };
        let words = match self.provider.refund(&outbox::idempotency_key(row), request).await {
            Ok(Some(word)) => vec![word],
            Ok(None) => self.provider.list_refunds(&payment.id).await?,
            Err(error) if error.is_disputed() => return Err(SendError::Disputed { at_provider: true }),
            Err(error) => return Err(error.into()),
        };
        Ok(Effect::Refunded { refund_id, words })
    }

    /// Stores the effect and the end of the task together, if the lease still holds.
    async fn record(&self, row: &Row, effect: Effect) -> Result<(), PaymentError> {
        let txn = self.database.begin_write().await?;
        match effect {
            Effect::Nothing => {}
            Effect::JobStarted { job_id } => {
                let columns = orders::ActiveModel { job_id: Set(Some(job_id)), ..Default::default() };
                orders::Entity::update_many()
                    .set(columns)
                    .filter(orders::Column::Id.eq(&row.order_id))
                    .filter(orders::Column::JobId.is_null())
                    .exec(&txn)
                    .await?;
            }
            Effect::Refunded { refund_id, words } => self.refunded(&txn, (row, &refund_id), words).await?,
        }
        self.world.reach("payment.relay.recorded");
        if outbox::finish(&txn, &self.world, row).await? {
            txn.commit().await?;
            self.world.reach("payment.relay.finished");
        } else {
            txn.rollback().await?;
            tracing::warn!(intent = row.intent, "a task was done after its lease had run out");
        }
        Ok(())
    }

    /// Enters what the provider said about the refunds of a payment. One of ours that it does not know by then never will
    /// be made: all of the payment went back in other ways.
    async fn refunded(
        &self,
        txn: &DatabaseTransaction,
        (row, refund_id): (&Row, &str),
        words: Vec<ProviderRefund>,
    ) -> Result<(), PaymentError> {
        let Some(mut order) = store::lock_order(txn, &row.order_id).await? else {
            return Ok(());
        };
        let Some(refund) = refunds::find(txn, refund_id).await? else {
            return Ok(());
        };
        let scene = Scene { txn, world: &self.world, actor: "relay" };
        for word in words {
            if let Some(payment) = payments::find(txn, &refund.payment_id).await? {
                scene.learn(&mut order, payment, &Fact::Refund(word)).await?;
            }
        }
        refunds::give_up_unsent(&scene, &mut order, refund_id).await
    }
}
