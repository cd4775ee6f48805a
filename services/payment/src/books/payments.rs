//! The payments that arrived, each once.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter};

use super::ledger::{self, Account, Posting};
use crate::apply::Scene;
use crate::error::PaymentError;
use crate::inbox::event::Payment;
use crate::store;
use crate::store::entity::orders::Model as Order;
use crate::store::entity::payments::{Column, Entity, Model};

pub(crate) use crate::store::entity::payments::Model as Row;

pub(crate) async fn find(connection: &impl ConnectionTrait, id: &str) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).one(connection).await
}

pub(crate) async fn of_order(connection: &impl ConnectionTrait, order_id: &str) -> Result<Vec<Model>, DbErr> {
    Entity::find().filter(Column::OrderId.eq(order_id)).all(connection).await
}

impl Model {
    /// The account that the payment was credited to.
    pub(crate) fn held(&self) -> Account {
        Account::named(&self.held).unwrap_or(Account::Suspense)
    }
}

/// Enters a payment that is not known yet, to the credit of `held`. The order is locked.
///
/// # Errors
/// Another order got it since it was looked for: two orders cannot share a payment.
pub(crate) async fn register(
    scene: &Scene<'_>,
    order: &Order,
    payment: &Payment,
    held: Account,
) -> Result<Model, PaymentError> {
    // Whoever parks an event of this payment at the same moment waits for us, or we find what it parked.
    store::serialize_on(scene.txn, &payment.id).await?;
    let all = payment.amount_minor;
    let row = Model {
        id: payment.id.clone(),
        order_id: order.id.clone(),
        amount_minor: all,
        currency: payment.currency.clone(),
        held: held.name().to_owned(),
        due_minor: if held == Account::RefundsDue { all } else { 0 },
        drawn_minor: 0,
        seen_minor: 0,
        refunded_minor: 0,
        postings: 0,
        at: scene.world.now().unix_micros(),
    };
    let conflict = OnConflict::column(Column::Id).do_nothing().to_owned();
    let insert = Entity::insert(row.clone().into_active_model()).on_conflict(conflict);
    if insert.exec_without_returning(scene.txn).await? == 0 {
        return Err(PaymentError::PaymentTaken);
    }
    let posting = Posting {
        key: format!("payment:{}", payment.id),
        order_id: &order.id,
        currency: &payment.currency,
        from: &[(held, all)],
        to: Account::Provider,
    };
    ledger::post(scene.txn, scene.world, posting).await?;
    Ok(row)
}
