//! What goes back of a payment.
//!
//! A refund has a row before the provider is asked, and the provider's own word is entered whichever way it comes:
//! as the answer, as an event about the refund, or as a charge's running total. The three may come in any order and
//! twice. So the ledger is not moved by what an event says happened, but to what is known by now: the refunds that
//! stand at the provider, and what the largest running total has beyond all refunds that were ever made. That is the
//! same in whatever order the words came.

mod tally;

use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter,
};

use super::disputes;
use super::ledger::{self, Account, Posting};
use super::payments;
use crate::apply::Scene;
use crate::error::PaymentError;
use crate::inbox::event::{ProviderRefund, RefundWord};
use crate::outbox::{self, Task};
use crate::store::entity::orders::{ActiveModel as OrderColumns, Model as Order, OrderStatus};
use crate::store::entity::payments::{Entity as Payments, Model as Payment};
use crate::store::entity::refunds::{ActiveModel, Column, Entity, Model, RefundStatus};

pub(crate) use tally::end_if_nothing_is_left;
use tally::rebalance;

/// Why money goes back that nobody asked for by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    LatePayment,
    ExtraPayment,
    JobFailed,
    JobCancelled,
    PagesMissing,
}

impl Cause {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LatePayment => "LATE_PAYMENT",
            Self::ExtraPayment => "EXTRA_PAYMENT",
            Self::JobFailed => "JOB_FAILED",
            Self::JobCancelled => "JOB_CANCELLED",
            Self::PagesMissing => "PAGES_MISSING",
        }
    }
}

pub(crate) async fn find(connection: &impl ConnectionTrait, id: &str) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).one(connection).await
}

pub(crate) async fn of_payment(
    connection: &impl ConnectionTrait,
    payment_id: &str,
) -> Result<Vec<Model>, DbErr> {
    Entity::find().filter(Column::PaymentId.eq(payment_id)).all(connection).await
}

/// What is left of a payment to send back: neither sent, nor promised, nor lost in a dispute.
pub(crate) async fn refundable(connection: &impl ConnectionTrait, payment: &Payment) -> Result<i64, DbErr> {
    let rows = of_payment(connection, &payment.id).await?;
    let promised = sum(&rows, |row| row.status == RefundStatus::Pending && row.provider_refund_id.is_none());
    let lost = disputes::lost(connection, &payment.id).await?;
    Ok((payment.amount_minor - payment.refunded_minor - promised - lost).max(0))
}

/// Sends a part of a payment back, for a cause, once.
pub(crate) async fn begin(
    scene: &Scene<'_>,
    order: &mut Order,
    payment: Payment,
    amount_minor: i64,
    (intent, cause): (String, Cause),
) -> Result<(), PaymentError> {
    if amount_minor <= 0 {
        return Ok(());
    }
    let now = scene.world.now().unix_micros();
    let row = Model {
        id: scene.world.id(),
        intent,
        order_id: order.id.clone(),
        user_id: order.user_id.clone(),
        payment_id: payment.id.clone(),
        provider_refund_id: None,
        amount_minor,
        currency: payment.currency.clone(),
        status: RefundStatus::Pending,
        reason: cause.name().to_owned(),
        note: String::new(),
        created_at: now,
        decided_at: Some(now),
    };
    let conflict = OnConflict::column(Column::Intent).do_nothing().to_owned();
    let insert = Entity::insert(row.clone().into_active_model()).on_conflict(conflict);
    if insert.exec_without_returning(scene.txn).await? == 0 {
        return Ok(());
    }
    promise(scene, order, payment, &row).await
}

/// Sets the money of a decided refund aside, and wishes for it to be sent.
pub(crate) async fn promise(
    scene: &Scene<'_>,
    order: &mut Order,
    payment: Payment,
    refund: &Model,
) -> Result<(), PaymentError> {
    set_aside(scene, order, payment, (refund, refund.amount_minor)).await
}

/// As [`promise`], for a second try: what the first had set aside and was not sent is still there.
pub(crate) async fn promise_again(
    scene: &Scene<'_>,
    order: &mut Order,
    payment: Payment,
    refund: &Model,
) -> Result<(), PaymentError> {
    let unused = (payment.due_minor - payment.drawn_minor).max(0);
    set_aside(scene, order, payment, (refund, (refund.amount_minor - unused).max(0))).await
}

/// The order waits for the refund if nothing of its own payment is left then.
async fn set_aside(
    scene: &Scene<'_>,
    order: &mut Order,
    mut payment: Payment,
    (refund, amount_minor): (&Model, i64),
) -> Result<(), PaymentError> {
    let held = payment.held();
    if held != Account::RefundsDue && amount_minor > 0 {
        let posting = Posting {
            key: format!("refund_due:{}", refund.id),
            order_id: &order.id,
            currency: &payment.currency,
            from: &[(Account::RefundsDue, amount_minor)],
            to: held,
        };
        ledger::post(scene.txn, scene.world, posting).await?;
        payment.due_minor += amount_minor;
        let columns = payment_columns(&payment, |columns| columns.due_minor = Set(payment.due_minor));
        columns.update(scene.txn).await?;
    }
    let task = Task::Refund { refund_id: refund.id.clone() };
    outbox::enqueue(scene.txn, scene.world, refund.intent.clone(), order, &task).await?;
    let own = order.provider_payment_id.as_deref() == Some(payment.id.as_str());
    let waits = matches!(order.status, OrderStatus::Paid | OrderStatus::Delivered | OrderStatus::Quarantined);
    if own && waits && refundable(scene.txn, &payment).await? == 0 {
        end_work(scene, order).await?;
        let nothing = <OrderColumns as Default>::default();
        scene.advance(order, nothing, OrderStatus::RefundPending, "ALL_REFUNDED").await?;
    }
    Ok(())
}

/// Enters what the provider says about one refund.
pub(crate) async fn learn(
    scene: &Scene<'_>,
    order: &mut Order,
    payment: Payment,
    word: &ProviderRefund,
) -> Result<(), PaymentError> {
    let known = Entity::find().filter(Column::ProviderRefundId.eq(&word.id)).one(scene.txn).await?;
    let known = match (known, &word.refund_id) {
        (Some(row), _) => Some(row),
        (None, Some(own)) => find(scene.txn, own)
            .await?
            .filter(|row| row.payment_id == payment.id && row.provider_refund_id.is_none()),
        (None, None) => None,
    };
    let row = match known {
        Some(row) => row,
        None => made_elsewhere(scene, order, &payment, word).await?,
    };
    // One that was given up may have been made all the same.
    let before = if row.provider_refund_id.is_some() { row.status } else { RefundStatus::Pending };
    let status = next(before, word.word);
    if status == RefundStatus::Failed && row.status != RefundStatus::Failed {
        tracing::error!(order = order.id, refund = row.id, "the provider could not refund");
    }
    let columns = ActiveModel {
        id: Set(row.id.clone()),
        provider_refund_id: Set(Some(word.id.clone())),
        amount_minor: Set(word.amount_minor),
        status: Set(status),
        ..Default::default()
    };
    columns.update(scene.txn).await?;
    if status != row.status {
        let what = match status {
            RefundStatus::Failed => "REFUND_FAILED",
            RefundStatus::Succeeded => "REFUND_SENT",
            _ => "REFUND_PENDING",
        };
        scene.note(order, what).await?;
    }
    rebalance(scene, order, payment).await
}

/// Enters how much of a charge went back in all so far.
pub(crate) async fn learn_total(
    scene: &Scene<'_>,
    order: &mut Order,
    mut payment: Payment,
    refunded_minor: i64,
) -> Result<(), PaymentError> {
    payment.seen_minor = payment.seen_minor.max(refunded_minor);
    rebalance(scene, order, payment).await
}

/// Sets the total to what the provider says now, also downwards: for whoever has just asked.
pub(crate) async fn correct_total(
    scene: &Scene<'_>,
    order: &mut Order,
    mut payment: Payment,
    refunded_minor: i64,
) -> Result<(), PaymentError> {
    payment.seen_minor = refunded_minor;
    rebalance(scene, order, payment).await
}

/// A refund that was made by hand at the provider.
async fn made_elsewhere(
    scene: &Scene<'_>,
    order: &Order,
    payment: &Payment,
    word: &ProviderRefund,
) -> Result<Model, PaymentError> {
    let now = scene.world.now().unix_micros();
    let row = Model {
        id: scene.world.id(),
        intent: format!("provider:{}", word.id),
        order_id: order.id.clone(),
        user_id: order.user_id.clone(),
        payment_id: payment.id.clone(),
        provider_refund_id: Some(word.id.clone()),
        amount_minor: word.amount_minor,
        currency: payment.currency.clone(),
        status: RefundStatus::Pending,
        reason: "AT_PROVIDER".to_owned(),
        note: String::new(),
        created_at: now,
        decided_at: Some(now),
    };
    Entity::insert(row.clone().into_active_model()).exec_without_returning(scene.txn).await?;
    Ok(row)
}

/// The status after a word of the provider. A refund that failed stays so.
fn next(status: RefundStatus, word: RefundWord) -> RefundStatus {
    match (status, word) {
        (RefundStatus::Failed, _) | (_, RefundWord::Failed) => RefundStatus::Failed,
        (RefundStatus::Succeeded, _) | (_, RefundWord::Succeeded) => RefundStatus::Succeeded,
        (_, RefundWord::Pending) => RefundStatus::Pending,
    }
}

/// Keeps the job of a paid order from starting, or stops it. Where no job ever had the document, it is let go.
async fn end_work(scene: &Scene<'_>, order: &Order) -> Result<(), PaymentError> {
    let unwritten = match order.status {
        OrderStatus::Paid => outbox::withdraw(scene.txn, scene.world, &order.id).await?,
        OrderStatus::Quarantined => true,
        _ => return Ok(()),
    };
    let (intent, task) = if unwritten {
        (outbox::release_intent(&order.id), Task::ReleaseDocument)
    } else {
        (outbox::cancel_intent(&order.id), Task::CancelJob)
    };
    outbox::enqueue(scene.txn, scene.world, intent, order, &task).await
}

/// What some of the refunds come to.
fn sum(rows: &[Model], which: impl Fn(&Model) -> bool) -> i64 {
    rows.iter().filter(|row| which(row)).map(|row| row.amount_minor).sum()
}

fn payment_columns(
    payment: &Payment,
    change: impl FnOnce(&mut crate::store::entity::payments::ActiveModel),
) -> crate::store::entity::payments::ActiveModel {
    let mut columns =
        crate::store::entity::payments::ActiveModel { id: Set(payment.id.clone()), ..Default::default() };
    change(&mut columns);
    columns
}

/// Ends a refund that the provider has not made and will not make, because nothing is left of the payment. What was set
/// aside for it goes back to where it came from.
pub(crate) async fn give_up_unsent(
    scene: &Scene<'_>,
    order: &mut Order,
    refund_id: &str,
) -> Result<(), PaymentError> {
    let Some(row) = find(scene.txn, refund_id).await? else {
        return Ok(());
    };
    if row.status != RefundStatus::Pending || row.provider_refund_id.is_some() {
        return Ok(());
    }
    let columns = ActiveModel {
        id: Set(row.id.clone()),
        status: Set(RefundStatus::Failed),
        note: Set("NOTHING_LEFT".to_owned()),
        ..Default::default()
    };
    columns.update(scene.txn).await?;
    let payment = payment_of(scene.txn, &row).await?;
    let unused = row.amount_minor.min(payment.due_minor - payment.drawn_minor).max(0);
    if payment.held() != Account::RefundsDue && unused > 0 {
        let posting = Posting {
            key: format!("refund_undue:{}", row.id),
            order_id: &order.id,
            currency: &payment.currency,
            from: &[(payment.held(), unused)],
            to: Account::RefundsDue,
        };
        ledger::post(scene.txn, scene.world, posting).await?;
        let columns =
            payment_columns(&payment, |columns| columns.due_minor = Set(payment.due_minor - unused));
        columns.update(scene.txn).await?;
    }
    scene.note(order, "REFUND_NOT_NEEDED").await?;
    end_if_nothing_is_left(scene, order, &payment.id).await
}

/// Draws on what was set aside because the money left in another way. Answers how much that was.
pub(crate) async fn draw(
    scene: &Scene<'_>,
    payment: &Payment,
    amount_minor: i64,
) -> Result<i64, PaymentError> {
    let due = amount_minor.min((payment.due_minor - payment.drawn_minor).max(0));
    let columns = payment_columns(payment, |columns| columns.drawn_minor = Set(payment.drawn_minor + due));
    Payments::update(columns).exec(scene.txn).await?;
    Ok(due)
}

/// The payment of a refund, as it is now.
pub(crate) async fn payment_of(
    connection: &impl ConnectionTrait,
    refund: &Model,
) -> Result<Payment, PaymentError> {
    payments::find(connection, &refund.payment_id).await?.ok_or(PaymentError::PaymentNotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refund_never_goes_back_from_failed_nor_from_succeeded_to_pending() {
        use RefundStatus::{Failed, Pending, Succeeded};
        assert_eq!(next(Pending, RefundWord::Succeeded), Succeeded);
        assert_eq!(next(Succeeded, RefundWord::Pending), Succeeded);
        assert_eq!(next(Succeeded, RefundWord::Failed), Failed);
        assert_eq!(next(Failed, RefundWord::Succeeded), Failed);
    }
}
