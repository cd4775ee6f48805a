//! Customers ask for money back, administrators decide.

use std::sync::Arc;

use quire_clock::World;
use quire_database::Database;
use quire_fault::{Rule, Violation};
use quire_identity::UserCaller;
use sea_orm::ActiveValue::Set;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect,
};
use tokio::sync::Notify;

use crate::apply::Scene;
use crate::books::{disputes, payments, refunds};
use crate::currency::Currency;
use crate::error::PaymentError;
use crate::orders::{PageRequest, is_id};
use crate::store;
use crate::store::entity::orders::{Model as Order, OrderStatus};
use crate::store::entity::refunds::{ActiveModel, Column, Entity, Model as Refund, RefundStatus};

/// Characters.
const MAX_WORDS: usize = 1000;

/// Refunds by hand. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RefundRequests {
    pub(crate) database: Database,
    pub(crate) world: World,
    /// Wakes the relay.
    pub(crate) wake: Arc<Notify>,
}

/// What a customer asks for.
pub(crate) struct Request {
    pub(crate) order_id: String,
    /// Minor units; `None` for all that is left.
    pub(crate) amount_minor: Option<i64>,
    pub(crate) reason: String,
}

/// Which refunds to list.
pub(crate) struct Listing<'a> {
    pub(crate) page: PageRequest<'a>,
    /// Empty: of all orders.
    pub(crate) order_id: &'a str,
    /// `None`: all.
    pub(crate) status: Option<RefundStatus>,
}

impl RefundRequests {
    /// Enters a customer's wish under an id, once.
    ///
    /// # Errors
    /// The request breaks a rule, the order is not the caller's, or it cannot be refunded, or not by so much.
    pub(crate) async fn request(
        &self,
        user_id: &str,
        id: String,
        request: Request,
    ) -> Result<Refund, PaymentError> {
        check(&request)?;
        if !is_id(&request.order_id) {
            return Err(PaymentError::OrderNotFound);
        }
        let txn = self.database.begin_write().await?;
        let order = store::lock_order(&txn, &request.order_id).await?;
        let mut order = order.filter(|order| order.user_id == user_id).ok_or(PaymentError::OrderNotFound)?;
        if let Some(known) = refunds::find(&txn, &id).await? {
            return Ok(known);
        }
        let (payment, left) = refundable(&txn, &order).await?;
        let amount_minor = within(request.amount_minor, left, &payment)?;
        check_coins(amount_minor, &payment)?;
        let row = Refund {
            intent: format!("refund:{}:{id}", order.id),
            id,
            order_id: order.id.clone(),
            user_id: order.user_id.clone(),
            payment_id: payment.id,
            provider_refund_id: None,
            amount_minor,
            currency: payment.currency,
            status: RefundStatus::Requested,
            reason: request.reason,
            note: String::new(),
            created_at: self.world.now().unix_micros(),
            decided_at: None,
        };
        Entity::insert(row.clone().into_active_model()).exec_without_returning(&txn).await?;
        let scene = Scene { txn: &txn, world: &self.world, actor: user_id };
        scene.note(&mut order, "REFUND_REQUESTED").await?;
        txn.commit().await?;
        Ok(row)
    }

    /// Approves or rejects. A refund that the provider could not send may be approved again.
    ///
    /// # Errors
    /// There is no such refund, it was decided the other way, or less is left than it asks for.
    pub(crate) async fn decide(
        &self,
        admin_id: &str,
        refund_id: &str,
        (approve, note): (bool, &str),
    ) -> Result<Refund, PaymentError> {
        let violations = check_words("note", note, 0);
        if !violations.is_empty() {
            return Err(PaymentError::Invalid(violations));
        }
        if !is_id(refund_id) {
            return Err(PaymentError::RefundNotFound);
        }
        let txn = self.database.begin_write().await?;
        let refund = refunds::find(&txn, refund_id).await?.ok_or(PaymentError::RefundNotFound)?;
        let order = store::lock_order(&txn, &refund.order_id).await?;
        let mut order = order.ok_or(PaymentError::OrderNotFound)?;
        // Read again under the lock of its order.
        let refund = refunds::find(&txn, refund_id).await?.ok_or(PaymentError::RefundNotFound)?;
        let scene = Scene { txn: &txn, world: &self.world, actor: admin_id };
        match (refund.status, approve) {
            (RefundStatus::Requested, true) => approve_one(&scene, &mut order, refund, note).await?,
            (RefundStatus::Requested, false) => {
                decided(&scene, &refund, RefundStatus::Rejected, note).await?;
                scene.note(&mut order, "REFUND_REJECTED").await?;
            }
            (RefundStatus::Failed, true) => again(&scene, &mut order, refund, note).await?,
            (RefundStatus::Rejected, false) | (RefundStatus::Pending | RefundStatus::Succeeded, true) => {
                return Ok(refund);
            }
            _ => return Err(PaymentError::RefundDecided),
        }
        let refund = refunds::find(&txn, refund_id).await?.ok_or(PaymentError::RefundNotFound)?;
        txn.commit().await?;
        self.wake.notify_one();
        Ok(refund)
    }

    /// The caller's refunds, newest first; an administrator gets everybody's.
    ///
    /// # Errors
    /// The page request breaks a rule.
    pub(crate) async fn list(
        &self,
        caller: &UserCaller,
        listing: Listing<'_>,
    ) -> Result<(Vec<Refund>, Option<String>), PaymentError> {
        let size = listing.page.size()?;
        let mut select = Entity::find();
        if !caller.is_admin() {
            select = select.filter(Column::UserId.eq(&caller.user_id));
        }
        if !listing.order_id.is_empty() {
            if !is_id(listing.order_id) {
                return Ok((Vec::new(), None));
            }
            select = select.filter(Column::OrderId.eq(listing.order_id));
        }
        if let Some(status) = listing.status {
            select = select.filter(Column::Status.eq(status));
        }
        if let Some(before) = listing.page.before() {
            select = select.filter(Column::Id.lt(before));
        }
        // UUIDv7: the order of ids is the order of time. One more than asked for tells whether there is a next page.
        let rows = select.order_by_desc(Column::Id).limit(size as u64 + 1);
        let mut rows = rows.all(self.database.reader()).await?;
        let more = rows.len() > size;
        rows.truncate(size);
        let next = rows.last().filter(|_| more).map(|row| row.id.clone());
        Ok((rows, next))
    }
}

fn check(request: &Request) -> Result<(), PaymentError> {
    let mut violations: Vec<Violation> = Vec::new();
    if request.order_id.is_empty() {
        violations.push(Violation::new("order_id", Rule::Missing));
    }
    violations.extend(check_words("reason", &request.reason, 1));
    if request.amount_minor.is_some_and(|amount| amount < 1) {
        violations.push(Violation::new("amount_minor", Rule::GreaterThanEqual(1)));
    }
    if violations.is_empty() { Ok(()) } else { Err(PaymentError::Invalid(violations)) }
}

/// What is wrong with the length and letters of a text.
fn check_words(field: &str, words: &str, shortest: usize) -> Vec<Violation> {
    let length = Violation::text_length(field, words, shortest, MAX_WORDS);
    // PostgreSQL stores no U+0000.
    let nul =
        words.contains('\0').then(|| Violation::new(field, Rule::Value("U+0000 is not accepted".to_owned())));
    length.into_iter().chain(nul).collect()
}

/// The order's own payment and what is left of it.
async fn refundable(txn: &DatabaseTransaction, order: &Order) -> Result<(payments::Row, i64), PaymentError> {
    let paid = matches!(order.status, OrderStatus::Paid | OrderStatus::Delivered | OrderStatus::Quarantined);
    let payment_id = order.provider_payment_id.as_deref().filter(|_| paid);
    let payment_id = payment_id.ok_or(PaymentError::NotRefundable)?;
    let payment = payments::find(txn, payment_id).await?.ok_or(PaymentError::PaymentNotFound)?;
    if disputes::is_open(txn, payment_id).await? {
        return Err(PaymentError::Disputed);
    }
    let left = refunds::refundable(txn, &payment).await?;
    Ok((payment, left))
}

fn within(amount_minor: Option<i64>, left: i64, payment: &payments::Row) -> Result<i64, PaymentError> {
    let amount_minor = amount_minor.unwrap_or(left);
    if amount_minor < 1 || amount_minor > left {
        let currency = payment.currency.clone();
        return Err(PaymentError::RefundTooLarge { left_minor: left, currency });
    }
    Ok(amount_minor)
}

/// The provider refunds only amounts that it would charge.
fn check_coins(amount_minor: i64, payment: &payments::Row) -> Result<(), PaymentError> {
    let step = Currency::parse(&payment.currency).map_or(1, Currency::step);
    if amount_minor % step == 0 {
        return Ok(());
    }
    let rule = Rule::Value(format!("amounts in {} are multiples of {step}", payment.currency));
    Err(PaymentError::Invalid(vec![Violation::new("amount_minor", rule)]))
}

async fn approve_one(
    scene: &Scene<'_>,
    order: &mut Order,
    refund: Refund,
    note: &str,
) -> Result<(), PaymentError> {
    let (payment, left) = refundable(scene.txn, order).await?;
    within(Some(refund.amount_minor), left, &payment)?;
    decided(scene, &refund, RefundStatus::Pending, note).await?;
    scene.note(order, "REFUND_APPROVED").await?;
    refunds::promise(scene, order, payment, &refund).await
}

/// A new try of a refund that failed at the provider, as a refund of its own. What was set aside for the first serves it.
async fn again(scene: &Scene<'_>, order: &mut Order, failed: Refund, note: &str) -> Result<(), PaymentError> {
    let intent = format!("{}:again:{}", failed.intent, failed.provider_refund_id.as_deref().unwrap_or(""));
    if Entity::find().filter(Column::Intent.eq(&intent)).one(scene.txn).await?.is_some() {
        // Approved twice: the first approval has made it.
        return Ok(());
    }
    let payment = refunds::payment_of(scene.txn, &failed).await?;
    if disputes::is_open(scene.txn, &payment.id).await? {
        return Err(PaymentError::Disputed);
    }
    let left = refunds::refundable(scene.txn, &payment).await?;
    within(Some(failed.amount_minor), left, &payment)?;
    let fresh = Refund {
        id: scene.world.id(),
        intent,
        provider_refund_id: None,
        status: RefundStatus::Pending,
        note: note.to_owned(),
        created_at: scene.world.now().unix_micros(),
        decided_at: Some(scene.world.now().unix_micros()),
        ..failed
    };
    Entity::insert(fresh.clone().into_active_model()).exec_without_returning(scene.txn).await?;
    scene.note(order, "REFUND_AGAIN").await?;
    refunds::promise_again(scene, order, payment, &fresh).await
}

async fn decided(
    scene: &Scene<'_>,
    refund: &Refund,
    status: RefundStatus,
    note: &str,
) -> Result<(), PaymentError> {
    let columns = ActiveModel {
        id: Set(refund.id.clone()),
        status: Set(status),
        note: Set(note.to_owned()),
        decided_at: Set(Some(scene.world.now().unix_micros())),
        ..Default::default()
    };
    columns.update(scene.txn).await?;
    Ok(())
}
