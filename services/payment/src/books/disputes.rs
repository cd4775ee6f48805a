//! Payments that the customer's bank takes back.

use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter,
};

use super::ledger::{self, Account, Posting};
use super::{payments, refunds};
use crate::apply::Scene;
use crate::error::PaymentError;
use crate::inbox::event::{DisputeWord, ProviderDispute};
use crate::outbox;
use crate::store::entity::disputes::{ActiveModel, Column, DisputeStatus, Entity, Model};
use crate::store::entity::orders::{ActiveModel as OrderColumns, Model as Order};
use crate::store::entity::payments::Model as Payment;

/// Whether a dispute of the payment is open: then nothing is refunded, or it would be paid back twice.
pub(crate) async fn is_open(connection: &impl ConnectionTrait, payment_id: &str) -> Result<bool, DbErr> {
    let open = of_payment(connection, payment_id).await?;
    Ok(open.iter().any(|dispute| dispute.status == DisputeStatus::Open))
}

/// What the payment has lost to disputes, in minor units.
pub(crate) async fn lost(connection: &impl ConnectionTrait, payment_id: &str) -> Result<i64, DbErr> {
    let rows = of_payment(connection, payment_id).await?;
    let lost = rows.iter().filter(|dispute| dispute.status == DisputeStatus::Lost);
    Ok(lost.map(|dispute| dispute.amount_minor).sum())
}

async fn of_payment(connection: &impl ConnectionTrait, payment_id: &str) -> Result<Vec<Model>, DbErr> {
    Entity::find().filter(Column::PaymentId.eq(payment_id)).all(connection).await
}

/// Enters what the provider says about a dispute. The words may come in any order: a closed one stays closed.
pub(crate) async fn learn(
    scene: &Scene<'_>,
    order: &mut Order,
    payment: &Payment,
    word: &ProviderDispute,
) -> Result<(), PaymentError> {
    let dispute = match Entity::find_by_id(&word.id).one(scene.txn).await? {
        Some(known) => known,
        None => open(scene, order, payment, word).await?,
    };
    let closed = match word.word {
        DisputeWord::Open => None,
        DisputeWord::Won => Some(DisputeStatus::Won),
        DisputeWord::Lost => Some(DisputeStatus::Lost),
    };
    if let Some(status) = closed.filter(|_| dispute.status == DisputeStatus::Open) {
        close(scene, order, payment, (&dispute, status)).await?;
        // A refund may have waited for this.
        outbox::hurry_refunds(scene.txn, &order.id).await?;
    }
    let mut disputed = false;
    for payment in payments::of_order(scene.txn, &order.id).await? {
        disputed |= self::is_open(scene.txn, &payment.id).await?;
    }
    scene.change(order, OrderColumns { disputed: Set(disputed), ..Default::default() }).await
}

async fn open(
    scene: &Scene<'_>,
    order: &mut Order,
    payment: &Payment,
    word: &ProviderDispute,
) -> Result<Model, PaymentError> {
    let row = Model {
        id: word.id.clone(),
        payment_id: payment.id.clone(),
        order_id: order.id.clone(),
        amount_minor: word.amount_minor,
        currency: payment.currency.clone(),
        status: DisputeStatus::Open,
        opened_at: scene.world.now().unix_micros(),
        closed_at: None,
    };
    let conflict = OnConflict::column(Column::Id).do_nothing().to_owned();
    let insert = Entity::insert(row.clone().into_active_model()).on_conflict(conflict);
    insert.exec_without_returning(scene.txn).await?;
    let taken = [(Account::Provider, word.amount_minor)];
    post(scene, order, (format!("dispute:{}", word.id), &taken, Account::Disputed)).await?;
    tracing::error!(order = order.id, dispute = word.id, "a payment is disputed");
    scene.note(order, "DISPUTE_OPENED").await?;
    Ok(row)
}

/// What was withheld at first is what comes back or is lost.
async fn close(
    scene: &Scene<'_>,
    order: &mut Order,
    payment: &Payment,
    (dispute, status): (&Model, DisputeStatus),
) -> Result<(), PaymentError> {
    let columns = ActiveModel {
        id: Set(dispute.id.clone()),
        status: Set(status),
        closed_at: Set(Some(scene.world.now().unix_micros())),
        ..Default::default()
    };
    columns.update(scene.txn).await?;
    let amount = dispute.amount_minor;
    if status == DisputeStatus::Won {
        let back = [(Account::Disputed, amount)];
        post(scene, order, (format!("dispute_won:{}", dispute.id), &back, Account::Provider)).await?;
        return scene.note(order, "DISPUTE_WON").await;
    }
    // The bank has paid the customer: what we still owed of it is settled by that.
    let due = refunds::draw(scene, payment, amount).await?;
    let held = payment.held();
    let legs = match held {
        Account::RefundsDue => vec![(Account::RefundsDue, -amount)],
        held => vec![(Account::RefundsDue, -due), (held, due - amount)],
    };
    post(scene, order, (format!("dispute_lost:{}", dispute.id), &legs, Account::Disputed)).await?;
    scene.note(order, "DISPUTE_LOST").await?;
    refunds::end_if_nothing_is_left(scene, order, &payment.id).await
}

async fn post(
    scene: &Scene<'_>,
    order: &Order,
    (key, from, to): (String, &[(Account, i64)], Account),
) -> Result<(), PaymentError> {
    let posting = Posting { key, order_id: &order.id, currency: &order.currency, from, to };
    Ok(ledger::post(scene.txn, scene.world, posting).await?)
}
