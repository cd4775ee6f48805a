//! How much of a payment is gone, and the ledger and the order moved up to that.

use sea_orm::ActiveModelTrait;
use sea_orm::ActiveValue::Set;

use super::{end_work, of_payment, payment_columns, refundable, sum};
use crate::apply::Scene;
use crate::books::ledger::{self, Account, Posting};
use crate::books::{disputes, payments};
use crate::error::PaymentError;
use crate::store::entity::orders::{ActiveModel as OrderColumns, Model as Order, OrderStatus};
use crate::store::entity::payments::Model as Payment;
use crate::store::entity::refunds::{Model, RefundStatus};

/// How much the ledger must move, and from where.
#[derive(Debug, PartialEq, Eq)]
struct Move {
    target: i64,
    /// Of what was set aside; negative when it comes back.
    due: i64,
    /// Of the account that holds the payment.
    held: i64,
}

/// What went back of a payment or is under way at the provider: the refunds that stand there, and what its running total
/// has beyond all that were ever made.
fn gone(payment: &Payment, rows: &[Model]) -> i64 {
    let made = sum(rows, |row| row.provider_refund_id.is_some());
    let failed = sum(rows, |row| row.provider_refund_id.is_some() && row.status == RefundStatus::Failed);
    made - failed + (payment.seen_minor - made).max(0)
}

fn plan(payment: &Payment, target: i64) -> Move {
    let delta = target - payment.refunded_minor;
    let due = if delta >= 0 {
        delta.min((payment.due_minor - payment.drawn_minor).max(0))
    } else {
        // It came back: it is owed again, as far as it was.
        delta.max(-payment.drawn_minor)
    };
    Move { target, due, held: delta - due }
}

/// Moves the ledger up to what is known, and the order with it.
pub(super) async fn rebalance(
    scene: &Scene<'_>,
    order: &mut Order,
    payment: Payment,
) -> Result<(), PaymentError> {
    let rows = of_payment(scene.txn, &payment.id).await?;
    let change = plan(&payment, gone(&payment, &rows));
    let held = payment.held();
    let postings = payment.postings + i64::from(change.due != 0 || change.held != 0);
    if postings != payment.postings {
        // Money leaves the provider: credited there, debited where it was owed or held.
        let mut from = vec![(Account::RefundsDue, -change.due)];
        if held == Account::RefundsDue {
            from[0].1 -= change.held;
        } else {
            from.push((held, -change.held));
        }
        let posting = Posting {
            key: format!("refund:{}:{postings}", payment.id),
            order_id: &order.id,
            currency: &payment.currency,
            from: &from,
            to: Account::Provider,
        };
        ledger::post(scene.txn, scene.world, posting).await?;
    }
    let columns = payment_columns(&payment, |columns| {
        columns.seen_minor = Set(payment.seen_minor);
        columns.refunded_minor = Set(change.target);
        columns.drawn_minor = Set(payment.drawn_minor + change.due);
        columns.postings = Set(postings);
    });
    columns.update(scene.txn).await?;
    if order.provider_payment_id.as_deref() != Some(payment.id.as_str()) {
        return Ok(());
    }
    let columns = OrderColumns { refunded_minor: Set(change.target), ..Default::default() };
    let left = payment.amount_minor - change.target - disputes::lost(scene.txn, &payment.id).await?;
    let to = match order.status {
        _ if left > 0 => None,
        OrderStatus::Paid | OrderStatus::Delivered | OrderStatus::Quarantined if is_under_way(&rows) => {
            Some((OrderStatus::RefundPending, "ALL_REFUNDED"))
        }
        OrderStatus::Paid
        | OrderStatus::Delivered
        | OrderStatus::Quarantined
        | OrderStatus::RefundPending
            if !is_under_way(&rows) =>
        {
            Some((OrderStatus::Refunded, ""))
        }
        _ => None,
    };
    let Some((to, detail)) = to else {
        return scene.change(order, columns).await;
    };
    end_work(scene, order).await?;
    scene.advance(order, columns, to, detail).await
}

/// Whether the provider works on one of the refunds.
fn is_under_way(rows: &[Model]) -> bool {
    rows.iter().any(|row| row.status == RefundStatus::Pending && row.provider_refund_id.is_some())
}

/// Ends an order whose money was to go back once nothing is left of it, in whatever way it went.
pub(crate) async fn end_if_nothing_is_left(
    scene: &Scene<'_>,
    order: &mut Order,
    payment_id: &str,
) -> Result<(), PaymentError> {
    let own = order.provider_payment_id.as_deref() == Some(payment_id);
    if !own || order.status != OrderStatus::RefundPending {
        return Ok(());
    }
    let rows = of_payment(scene.txn, payment_id).await?;
    let payment = payments::find(scene.txn, payment_id).await?.ok_or(PaymentError::PaymentNotFound)?;
    let pending = rows.iter().any(|row| row.status == RefundStatus::Pending);
    if pending || refundable(scene.txn, &payment).await? > 0 {
        return Ok(());
    }
    let nothing = <OrderColumns as Default>::default();
    scene.advance(order, nothing, OrderStatus::Refunded, "NOTHING_LEFT").await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(seen: i64, refunded: i64, due: i64, drawn: i64) -> Payment {
        Payment {
            id: "pi".into(),
            order_id: "o".into(),
            amount_minor: 600,
            currency: "EUR".into(),
            held: "sales".into(),
            due_minor: due,
            drawn_minor: drawn,
            seen_minor: seen,
            refunded_minor: refunded,
            postings: 0,
            at: 0,
        }
    }

    fn refund(amount_minor: i64, status: RefundStatus, at_provider: bool) -> Model {
        Model {
            id: "r".into(),
            intent: "r".into(),
            order_id: "o".into(),
            user_id: "ada".into(),
            payment_id: "pi".into(),
            provider_refund_id: at_provider.then(|| "re".into()),
            amount_minor,
            currency: "EUR".into(),
            status,
            reason: String::new(),
            note: String::new(),
            created_at: 0,
            decided_at: None,
        }
    }

    #[test]
    fn what_the_running_total_has_beyond_the_known_refunds_is_gone_too() {
        use RefundStatus::{Failed, Pending, Requested, Succeeded};
        let seen = |total| payment(total, 0, 0, 0);
        assert_eq!(gone(&seen(0), &[]), 0);
        assert_eq!(gone(&seen(300), &[]), 300);
        let sent = [refund(200, Succeeded, true), refund(100, Pending, true)];
        assert_eq!(gone(&seen(0), &sent), 300);
        assert_eq!(gone(&seen(200), &sent), 300);
        assert_eq!(gone(&seen(350), &sent), 350);
        // A total from before one of them failed says nothing about what stands now.
        let failed = [refund(200, Failed, true), refund(100, Succeeded, true)];
        assert_eq!(gone(&seen(300), &failed), 100);
        // What the provider has not heard of is not gone.
        let wished = [refund(200, Pending, false), refund(100, Requested, false), refund(50, Failed, false)];
        assert_eq!(gone(&seen(0), &wished), 0);
    }

    #[test]
    fn the_ledger_moves_to_what_is_gone() {
        assert_eq!(plan(&payment(0, 0, 0, 0), 0), Move { target: 0, due: 0, held: 0 });
        assert_eq!(plan(&payment(0, 0, 0, 0), 300), Move { target: 300, due: 0, held: 300 });
        assert_eq!(plan(&payment(0, 300, 0, 0), 500), Move { target: 500, due: 0, held: 200 });
    }

    #[test]
    fn what_was_set_aside_is_drawn_first_and_owed_again_when_it_comes_back() {
        assert_eq!(plan(&payment(0, 0, 200, 0), 300), Move { target: 300, due: 200, held: 100 });
        assert_eq!(plan(&payment(0, 300, 200, 200), 100), Move { target: 100, due: -200, held: 0 });
        assert_eq!(plan(&payment(0, 300, 100, 100), 0), Move { target: 0, due: -100, held: -200 });
    }
}
