//! Carries out a decision about an order, inside the transaction that stores its cause.

use quire_clock::World;
use sea_orm::ActiveValue::Set;
use sea_orm::DatabaseTransaction;

use crate::error::PaymentError;
use crate::event::{Notice, Payment};
use crate::ledger::{self, Account, Posting};
use crate::outbox::{self, Task};
use crate::store::entity::inbox::InboxStatus;
use crate::store::entity::orders::{ActiveModel, Model as Order, OrderStatus};
use crate::store::{self, Step};
use crate::transition::{Decision, decide};

/// What became of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applied {
    /// What its event row says.
    pub(crate) status: InboxStatus,
    pub(crate) reason: &'static str,
    /// Whether there is a new task in the outbox.
    pub(crate) tasks: bool,
}

impl Applied {
    const fn done(reason: &'static str) -> Self {
        Self { status: InboxStatus::Done, reason, tasks: false }
    }

    const fn done_with_tasks(reason: &'static str) -> Self {
        Self { status: InboxStatus::Done, reason, tasks: true }
    }

    const fn quarantined(reason: &'static str) -> Self {
        Self { status: InboxStatus::Quarantined, reason, tasks: false }
    }
}

/// One transaction and who acts in it.
pub(crate) struct Scene<'a> {
    pub(crate) txn: &'a DatabaseTransaction,
    pub(crate) world: &'a World,
    /// For the audit: the event, service or task.
    pub(crate) actor: &'a str,
}

impl Scene<'_> {
    /// Does to a locked order what the notice calls for.
    pub(crate) async fn apply(&self, order: &Order, notice: &Notice) -> Result<Applied, PaymentError> {
        match decide(order, notice) {
            Decision::Nothing => Ok(Applied::done("")),
            Decision::Process => {
                self.advance(order, ActiveModel::default(), OrderStatus::Processing, "").await?;
                Ok(Applied::done(""))
            }
            Decision::Pay(payment) => {
                self.pay(order, &payment).await?;
                Ok(Applied::done_with_tasks(""))
            }
            Decision::Expire(reason) => {
                self.expire(order, reason).await?;
                Ok(Applied::done_with_tasks(""))
            }
            Decision::RefundLate(payment) => {
                let columns = paid_columns(&payment, self.world);
                self.advance(order, columns, OrderStatus::RefundPending, "LATE_PAYMENT").await?;
                self.receive(order, &payment, Account::RefundsDue).await?;
                self.refund(order, format!("refund:{}", order.id), &payment).await?;
                Ok(Applied::done_with_tasks("LATE_PAYMENT"))
            }
            Decision::RefundExtra(payment) => {
                let step = Step { to: order.status, actor: self.actor, detail: "EXTRA_PAYMENT" };
                store::audit(self.txn, self.world, order, step).await?;
                self.receive(order, &payment, Account::RefundsDue).await?;
                self.refund(order, format!("refund:{}:{}", order.id, payment.id), &payment).await?;
                Ok(Applied::done_with_tasks("EXTRA_PAYMENT"))
            }
            Decision::QuarantineOrder(payment, reason) => {
                let columns = paid_columns(&payment, self.world);
                self.advance(order, columns, OrderStatus::Quarantined, reason).await?;
                self.receive(order, &payment, Account::Suspense).await?;
                tracing::error!(order = order.id, reason, "a payment contradicts its quote");
                Ok(Applied::quarantined(reason))
            }
            Decision::QuarantineEvent(reason) => {
                tracing::error!(order = order.id, reason, "an event about a payment was set aside");
                Ok(Applied::quarantined(reason))
            }
        }
    }

    /// Ends an open order that was never paid, and lets its document go.
    pub(crate) async fn expire(&self, order: &Order, reason: &'static str) -> Result<(), PaymentError> {
        self.advance(order, ActiveModel::default(), OrderStatus::Expired, reason).await?;
        let intent = format!("release_document:{}", order.id);
        outbox::enqueue(self.txn, self.world, intent, order, &Task::ReleaseDocument).await
    }

    /// Sends the whole payment of an order back.
    pub(crate) async fn refund_order(&self, order: &Order, reason: &str) -> Result<(), PaymentError> {
        self.advance(order, ActiveModel::default(), OrderStatus::RefundPending, reason).await?;
        let payment = Payment {
            id: order.provider_payment_id.clone().unwrap_or_default(),
            amount_minor: order.amount_minor,
            currency: order.currency.clone(),
        };
        let posting = Posting {
            key: format!("reversal:{}", order.id),
            order_id: &order.id,
            debit: Account::Sales,
            credit: Account::RefundsDue,
            amount_minor: payment.amount_minor,
            currency: &payment.currency,
        };
        ledger::post(self.txn, self.world, posting).await?;
        self.refund(order, format!("refund:{}", order.id), &payment).await
    }

    /// Changes the status of a locked order.
    pub(crate) async fn advance(
        &self,
        order: &Order,
        columns: ActiveModel,
        to: OrderStatus,
        detail: &str,
    ) -> Result<(), PaymentError> {
        let step = Step { to, actor: self.actor, detail };
        Ok(store::advance(self.txn, self.world, order, columns, step).await?)
    }

    async fn pay(&self, order: &Order, payment: &Payment) -> Result<(), PaymentError> {
        self.advance(order, paid_columns(payment, self.world), OrderStatus::Paid, "").await?;
        self.receive(order, payment, Account::Sales).await?;
        let task = Task::StartJob { user_id: order.user_id.clone(), pages: order.pages };
        outbox::enqueue(self.txn, self.world, format!("start_job:{}", order.id), order, &task).await
    }

    async fn receive(&self, order: &Order, payment: &Payment, credit: Account) -> Result<(), PaymentError> {
        let posting = Posting {
            key: format!("payment:{}", payment.id),
            order_id: &order.id,
            debit: Account::Provider,
            credit,
            amount_minor: payment.amount_minor,
            currency: &payment.currency,
        };
        Ok(ledger::post(self.txn, self.world, posting).await?)
    }

    async fn refund(&self, order: &Order, intent: String, payment: &Payment) -> Result<(), PaymentError> {
        let task = Task::Refund {
            payment_id: payment.id.clone(),
            amount_minor: payment.amount_minor,
            currency: payment.currency.clone(),
        };
        outbox::enqueue(self.txn, self.world, intent, order, &task).await
    }
}

fn paid_columns(payment: &Payment, world: &World) -> ActiveModel {
    ActiveModel {
        provider_payment_id: Set(Some(payment.id.clone())),
        paid_at: Set(Some(world.now().unix_micros())),
        ..Default::default()
    }
}
