//! Does the tasks of the outbox, at least once each; every receiver has its own key against doing one twice.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use quire_clock::World;
use quire_database::Database;
use quire_fault::Fault;
use quire_proto::job::v1::StartJobRequest;
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::apply::Scene;
use crate::error::PaymentError;
use crate::ledger::{self, Account, Posting};
use crate::outbox::{self, Task};
use crate::peers::Peers;
use crate::provider::{ProviderError, RefundRequest, Stripe};
use crate::store;
use crate::store::entity::orders::{self, OrderStatus};
use crate::store::entity::outbox::Model as Row;

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
    JobStarted { job_id: String },
    Refunded { payment_id: String, amount_minor: i64, currency: String },
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
}

impl SendError {
    /// Whether the same idempotency key can only bring the same answer again.
    fn spends_key(&self) -> bool {
        matches!(self, Self::Provider(error) if error.spends_key())
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
            join_all(claimed.iter().map(|row| self.deliver(row))).await;
        }
    }

    async fn deliver(&self, row: &Row) {
        let sent =
            tokio::time::timeout(SEND_DEADLINE, self.send(row)).await.unwrap_or(Err(SendError::Deadline));
        let outcome = match sent {
            Ok(effect) => self.record(row, effect).await,
            Err(error) => {
                let spent = error.spends_key();
                outbox::postpone(&self.database, &self.world, row, &error.to_string(), spent)
                    .await
                    .map_err(PaymentError::from)
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
            Task::Refund { payment_id, amount_minor, currency } => {
                let refund = RefundRequest { payment_id: &payment_id, amount_minor, order_id: &row.order_id };
                // A new key cannot send the money twice: the provider refunds no charge beyond its amount, and
                // says so when all of it is already back.
                self.provider.refund(&outbox::idempotency_key(row), refund).await?;
                Ok(Effect::Refunded { payment_id, amount_minor, currency })
            }
        }
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
            Effect::Refunded { payment_id, amount_minor, currency } => {
                self.refunded(&txn, row, &payment_id).await?;
                let posting = Posting {
                    key: format!("refund:{payment_id}"),
                    order_id: &row.order_id,
                    debit: Account::RefundsDue,
                    credit: Account::Provider,
                    amount_minor,
                    currency: &currency,
                };
                ledger::post(&txn, &self.world, posting).await?;
            }
        }
        if outbox::finish(&txn, &self.world, row).await? {
            txn.commit().await?;
        } else {
            txn.rollback().await?;
            tracing::warn!(intent = row.intent, "a task was done after its lease had run out");
        }
        Ok(())
    }

    /// The order is refunded if it was its own payment that went back, not an extra one.
    async fn refunded(
        &self,
        txn: &DatabaseTransaction,
        row: &Row,
        payment_id: &str,
    ) -> Result<(), PaymentError> {
        let Some(order) = store::lock_order(txn, &row.order_id).await? else {
            return Ok(());
        };
        let own = order.provider_payment_id.as_deref() == Some(payment_id);
        if own && order.status == OrderStatus::RefundPending {
            let scene = Scene { txn, world: &self.world, actor: "relay" };
            scene.advance(&order, orders::ActiveModel::default(), OrderStatus::Refunded, "").await?;
        }
        Ok(())
    }
}
