//! Carries out a decision about an order, inside the transaction that stores its cause.

use quire_clock::World;
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};

use crate::audit;
use crate::books::ledger::Account;
use crate::books::{disputes, payments, refunds};
use crate::error::PaymentError;
use crate::inbox::event::{Fact, Notice, Payment};
use crate::outbox::{self, Task};
use crate::store::entity::inbox::InboxStatus;
use crate::store::entity::orders::{self, ActiveModel, Model as Order, OrderStatus};
use crate::transition::{Decision, decide};

/// What became of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    /// What its event row says.
    pub(crate) status: InboxStatus,
    pub(crate) reason: &'static str,
    /// A payment that was not known before: what is parked for it can be applied now.
    pub(crate) new_payment: Option<String>,
}

impl Applied {
    pub(crate) const fn with(status: InboxStatus, reason: &'static str) -> Self {
        Self { status, reason, new_payment: None }
    }

    const fn done(reason: &'static str) -> Self {
        Self::with(InboxStatus::Done, reason)
    }

    const fn quarantined(reason: &'static str) -> Self {
        Self::with(InboxStatus::Quarantined, reason)
    }

    fn of_payment(self, payment: Payment) -> Self {
        Self { new_payment: Some(payment.id), ..self }
    }
}

/// One transaction and who acts in it.
pub(crate) struct Scene<'a> {
    pub(crate) txn: &'a DatabaseTransaction,
    pub(crate) world: &'a World,
    /// For the audit: the event, service, task or administrator.
    pub(crate) actor: &'a str,
}

impl Scene<'_> {
    /// Does to a locked order what the notice calls for.
    pub(crate) async fn apply(&self, order: &mut Order, notice: &Notice) -> Result<Applied, PaymentError> {
        let known = match notice {
            Notice::Paid(payment) | Notice::Refunded(payment, _) => {
                payments::find(self.txn, &payment.id).await?
            }
            _ => None,
        };
        if known.as_ref().is_some_and(|payment| payment.order_id != order.id) {
            tracing::error!(order = order.id, "a payment of another order is said to be for this one");
            return Ok(Applied::quarantined("PAYMENT_OF_ANOTHER_ORDER"));
        }
        let applied = self.carry_out(order, decide(order, notice, known.is_some())).await?;
        let Notice::Refunded(payment, refunded_minor) = notice else {
            return Ok(applied);
        };
        let Some(payment) = payments::find(self.txn, &payment.id).await? else {
            return Ok(applied);
        };
        if *refunded_minor > payment.amount_minor {
            tracing::error!(order = order.id, "more is said to have gone back than was paid");
            return Ok(Applied::quarantined("AMOUNT_MISMATCH"));
        }
        refunds::learn_total(self, order, payment, *refunded_minor).await?;
        Ok(applied)
    }

    /// Does what a fact about a payment of a locked order calls for.
    pub(crate) async fn learn(
        &self,
        order: &mut Order,
        payment: payments::Row,
        fact: &Fact,
    ) -> Result<Applied, PaymentError> {
        let currency = match fact {
            Fact::Refund(refund) => &refund.currency,
            Fact::Dispute(dispute) => &dispute.currency,
        };
        if *currency != payment.currency {
            tracing::error!(order = order.id, "a refund or dispute has another currency than its payment");
            return Ok(Applied::quarantined("CURRENCY_MISMATCH"));
        }
        if matches!(fact, Fact::Refund(refund) if refund.amount_minor > payment.amount_minor) {
            tracing::error!(order = order.id, "a refund is larger than its payment");
            return Ok(Applied::quarantined("AMOUNT_MISMATCH"));
        }
        match fact {
            Fact::Refund(refund) => refunds::learn(self, order, payment, refund).await?,
            Fact::Dispute(dispute) => disputes::learn(self, order, &payment, dispute).await?,
        }
        Ok(Applied::done(""))
    }

    async fn carry_out(&self, order: &mut Order, decision: Decision) -> Result<Applied, PaymentError> {
        match decision {
            Decision::Nothing => Ok(Applied::done("")),
            Decision::Process => {
                self.advance(order, ActiveModel::default(), OrderStatus::Processing, "").await?;
                Ok(Applied::done(""))
            }
            Decision::Pay(payment) => {
                self.pay(order, &payment).await?;
                Ok(Applied::done("").of_payment(payment))
            }
            Decision::Expire(reason) => {
                self.expire(order, reason).await?;
                Ok(Applied::done(""))
            }
            Decision::RefundLate(payment) => {
                let cause = refunds::Cause::LatePayment;
                self.own(order, &payment, OrderStatus::RefundPending, cause.name()).await?;
                self.send_back(order, &payment, (format!("refund:{}", order.id), cause)).await?;
                Ok(Applied::done(cause.name()).of_payment(payment))
            }
            Decision::RefundExtra(payment) => {
                let cause = refunds::Cause::ExtraPayment;
                self.note(order, cause.name()).await?;
                let intent = format!("refund:{}:{}", order.id, payment.id);
                self.send_back(order, &payment, (intent, cause)).await?;
                Ok(Applied::done(cause.name()).of_payment(payment))
            }
            Decision::QuarantineOrder(payment, reason) => {
                self.own(order, &payment, OrderStatus::Quarantined, reason).await?;
                payments::register(self, order, &payment, Account::Suspense).await?;
                tracing::error!(order = order.id, reason, "a payment contradicts its quote");
                Ok(Applied::quarantined(reason).of_payment(payment))
            }
            Decision::QuarantineEvent(reason) => {
                tracing::error!(order = order.id, reason, "an event about a payment was set aside");
                Ok(Applied::quarantined(reason))
            }
        }
    }

    /// Ends an open order that was never paid, and lets its document go.
    pub(crate) async fn expire(&self, order: &mut Order, reason: &'static str) -> Result<(), PaymentError> {
        self.advance(order, ActiveModel::default(), OrderStatus::Expired, reason).await?;
        let intent = outbox::release_intent(&order.id);
        outbox::enqueue(self.txn, self.world, intent, order, &Task::ReleaseDocument).await
    }

    /// Changes the status of a locked order, with `columns` besides, and writes the audit row.
    pub(crate) async fn advance(
        &self,
        order: &mut Order,
        mut columns: ActiveModel,
        to: OrderStatus,
        detail: &str,
    ) -> Result<(), PaymentError> {
        let step = audit::Step { to, actor: self.actor, detail };
        let link = audit::append(self.txn, self.world, order, step).await?;
        columns.status = Set(to);
        columns.audit_seq = Set(link.seq);
        columns.audit_hash = Set(link.hash);
        self.change(order, columns).await
    }

    /// Writes an audit row about something that does not change the status of a locked order.
    pub(crate) async fn note(&self, order: &mut Order, detail: &str) -> Result<(), PaymentError> {
        self.advance(order, ActiveModel::default(), order.status, detail).await
    }

    /// Changes columns of a locked order.
    pub(crate) async fn change(&self, order: &mut Order, columns: ActiveModel) -> Result<(), PaymentError> {
        let changed = orders::Entity::update_many()
            .set(columns)
            .filter(orders::Column::Id.eq(&order.id))
            .filter(orders::Column::Status.eq(order.status))
            .filter(orders::Column::AuditSeq.eq(order.audit_seq))
            .exec_with_returning(self.txn)
            .await?;
        *order = changed.into_iter().next().ok_or(DbErr::RecordNotUpdated)?;
        Ok(())
    }

    async fn pay(&self, order: &mut Order, payment: &Payment) -> Result<(), PaymentError> {
        self.own(order, payment, OrderStatus::Paid, "").await?;
        payments::register(self, order, payment, Account::Sales).await?;
        outbox::wish_for_job(self.txn, self.world, order).await
    }

    /// Makes a payment the order's own.
    async fn own(
        &self,
        order: &mut Order,
        payment: &Payment,
        to: OrderStatus,
        detail: &str,
    ) -> Result<(), PaymentError> {
        let columns = ActiveModel {
            provider_payment_id: Set(Some(payment.id.clone())),
            paid_at: Set(Some(self.world.now().unix_micros())),
            ..Default::default()
        };
        self.advance(order, columns, to, detail).await
    }

    /// Enters a payment that must not stay here, and sends all of it back.
    async fn send_back(
        &self,
        order: &mut Order,
        payment: &Payment,
        why: (String, refunds::Cause),
    ) -> Result<(), PaymentError> {
        let row = payments::register(self, order, payment, Account::RefundsDue).await?;
        let amount = row.amount_minor;
        refunds::begin(self, order, row, amount, why).await
    }
}
