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
    let known = Entity::find_by_id(&word.id).one(scene.txn).await?;
    if known.is_none() {
        open(scene, order, payment, word).await?;
    }
    let is_open = known.is_none_or(|dispute| dispute.status == DisputeStatus::Open);
    let closed = match word.word {
        DisputeWord::Open => None,
        DisputeWord::Won => Some(DisputeStatus::Won),
        DisputeWord::Lost => Some(DisputeStatus::Lost),
    };
    if let Some(status) = closed.filter(|_| is_open) {
        close(scene, order, payment, (word, status)).await?;
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
) -> Result<(), PaymentError> {
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
    Entity::insert(row.into_active_model()).on_conflict(conflict).exec_without_returning(scene.txn).await?;
    let taken = [(Account::Provider, word.amount_minor)];
    post(scene, order, (format!("dispute:{}", word.id), &taken, Account::Disputed)).await?;
    tracing::error!(order = order.id, dispute = word.id, "a payment is disputed");
    scene.note(order, "DISPUTE_OPENED").await
}

async fn close(
    scene: &Scene<'_>,
    order: &mut Order,
    payment: &Payment,
    (word, status): (&ProviderDispute, DisputeStatus),
) -> Result<(), PaymentError> {
    let columns = ActiveModel {
        id: Set(word.id.clone()),
        status: Set(status),
        closed_at: Set(Some(scene.world.now().unix_micros())),
        ..Default::default()
    };
    columns.update(scene.txn).await?;
    let amount = word.amount_minor;
    if status == DisputeStatus::Won {
        let back = [(Account::Disputed, amount)];
        post(scene, order, (format!("dispute_won:{}", word.id), &back, Account::Provider)).await?;
        return scene.note(order, "DISPUTE_WON").await;
    }
    // The bank has paid the customer: what we still owed of it is settled by that.
    let due = refunds::draw(scene, payment, amount).await?;
    let held = payment.held();
    let legs = match held {
        Account::RefundsDue => vec![(Account::RefundsDue, -amount)],
        held => vec![(Account::RefundsDue, -due), (held, due - amount)],
    };
    post(scene, order, (format!("dispute_lost:{}", word.id), &legs, Account::Disputed)).await?;
    scene.note(order, "DISPUTE_LOST").await
}

async fn post(
    scene: &Scene<'_>,
    order: &Order,
    (key, from, to): (String, &[(Account, i64)], Account),
) -> Result<(), PaymentError> {
    let posting = Posting { key, order_id: &order.id, currency: &order.currency, from, to };
    Ok(ledger::post(scene.txn, scene.world, posting).await?)
}
