//! How the job of an order ended: delivered, or the money goes back.

use std::sync::Arc;

use quire_clock::World;
use quire_database::Database;
use sea_orm::ActiveValue::Set;
use tokio::sync::Notify;

use crate::apply::Scene;
use crate::error::PaymentError;
use crate::store;
use crate::store::entity::orders::{ActiveModel, Model as Order, OrderStatus};

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Failed,
    Cancelled,
}

/// Settles orders.
pub(crate) struct Settlement {
    pub(crate) database: Database,
    pub(crate) world: World,
    /// Wakes the relay.
    pub(crate) wake: Arc<Notify>,
}

impl Settlement {
    /// Records how the job ended, once; the first outcome stands. Answers the order's status after it.
    ///
    /// # Errors
    /// There is no such order, it was never paid, or another job works on it.
    pub(crate) async fn settle(
        &self,
        order_id: &str,
        job_id: &str,
        outcome: Outcome,
    ) -> Result<OrderStatus, PaymentError> {
        let txn = self.database.begin_write().await?;
        let order = store::lock_order(&txn, order_id).await?.ok_or(PaymentError::OrderNotFound)?;
        match order.status {
            OrderStatus::Paid => {}
            OrderStatus::Delivered | OrderStatus::RefundPending | OrderStatus::Refunded => {
                return Ok(order.status);
            }
            OrderStatus::Open | OrderStatus::Processing | OrderStatus::Expired | OrderStatus::Quarantined => {
                return Err(PaymentError::NotPaid);
            }
        }
        if order.job_id.as_deref().is_some_and(|own| own != job_id) {
            return Err(PaymentError::OtherJob);
        }
        let scene = Scene { txn: &txn, world: &self.world, actor: "background-job" };
        let status = match outcome {
            Outcome::Delivered => {
                scene.advance(&order, job_columns(job_id), OrderStatus::Delivered, "").await?;
                OrderStatus::Delivered
            }
            Outcome::Failed => self.refund(&scene, &order, "JOB_FAILED").await?,
            Outcome::Cancelled => self.refund(&scene, &order, "JOB_CANCELLED").await?,
        };
        txn.commit().await?;
        self.wake.notify_one();
        Ok(status)
    }

    async fn refund(
        &self,
        scene: &Scene<'_>,
        order: &Order,
        reason: &str,
    ) -> Result<OrderStatus, PaymentError> {
        scene.refund_order(order, reason).await?;
        Ok(OrderStatus::RefundPending)
    }
}

/// The job may end before the relay has heard that it began.
fn job_columns(job_id: &str) -> ActiveModel {
    ActiveModel { job_id: Set(Some(job_id.to_owned())), ..Default::default() }
}
