//! How the job of an order ended: what was paid and not delivered goes back.

use std::sync::Arc;

use quire_clock::World;
use quire_database::Database;
use quire_fault::{Rule, Violation};
use sea_orm::ActiveValue::Set;
use tokio::sync::Notify;

use crate::apply::Scene;
use crate::books::payments;
use crate::books::refunds::{self, Cause};
use crate::error::PaymentError;
use crate::orders::is_id;
use crate::store;
use crate::store::entity::orders::{ActiveModel, Model as Order, OrderStatus};

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Failed,
    Cancelled,
}

/// What the job service reports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report<'a> {
    pub(crate) order_id: &'a str,
    pub(crate) job_id: &'a str,
    pub(crate) outcome: Outcome,
    /// Pages of the delivered file; 0 if there is none.
    pub(crate) delivered_pages: i32,
}

/// Settles orders. Cheap to clone.
#[derive(Clone)]
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
    /// There is no such order, it was never paid, another job works on it, or the pages contradict the outcome.
    pub(crate) async fn settle(&self, report: Report<'_>) -> Result<OrderStatus, PaymentError> {
        check(&report)?;
        if !is_id(report.order_id) {
            return Err(PaymentError::OrderNotFound);
        }
        let txn = self.database.begin_write().await?;
        let order = store::lock_order(&txn, report.order_id).await?;
        let mut order = order.ok_or(PaymentError::OrderNotFound)?;
        match order.status {
            OrderStatus::Paid => {}
            OrderStatus::Delivered | OrderStatus::RefundPending | OrderStatus::Refunded => {
                return Ok(order.status);
            }
            OrderStatus::Open | OrderStatus::Processing | OrderStatus::Expired | OrderStatus::Quarantined => {
                return Err(PaymentError::NotPaid);
            }
        }
        if order.job_id.as_deref().is_some_and(|own| own != report.job_id) {
            return Err(PaymentError::OtherJob);
        }
        let scene = Scene { txn: &txn, world: &self.world, actor: "background-job" };
        record(&scene, &mut order, report).await?;
        self.world.reach("payment.settle.recorded");
        txn.commit().await?;
        self.world.reach("payment.settle.committed");
        self.wake.notify_one();
        Ok(order.status)
    }
}

fn check(report: &Report<'_>) -> Result<(), PaymentError> {
    let delivered = i64::from(report.delivered_pages);
    let violation = match report.outcome {
        Outcome::Delivered if delivered < 1 => Some(Rule::GreaterThanEqual(1)),
        Outcome::Failed if delivered != 0 => Some(Rule::LessThanEqual(0)),
        _ if delivered < 0 => Some(Rule::GreaterThanEqual(0)),
        _ => None,
    };
    let pages = violation.map(|rule| Violation::new("delivered_pages", rule));
    // PostgreSQL stores no U+0000.
    let job_id = report
        .job_id
        .contains(char::is_control)
        .then(|| Violation::new("job_id", Rule::Value("control characters are not accepted".to_owned())));
    let violations: Vec<Violation> = job_id.into_iter().chain(pages).collect();
    if violations.is_empty() { Ok(()) } else { Err(PaymentError::Invalid(violations)) }
}

/// Delivers what was delivered and begins to refund the rest.
async fn record(scene: &Scene<'_>, order: &mut Order, report: Report<'_>) -> Result<(), PaymentError> {
    let delivered = report.delivered_pages.min(order.pages);
    let columns = ActiveModel {
        // The job may end before the relay has heard that it began.
        job_id: Set(Some(report.job_id.to_owned())),
        delivered_pages: Set(report.delivered_pages),
        ..Default::default()
    };
    let cause = match report.outcome {
        Outcome::Delivered => Cause::PagesMissing,
        Outcome::Failed => Cause::JobFailed,
        Outcome::Cancelled => Cause::JobCancelled,
    };
    let payment_id = order.provider_payment_id.clone().unwrap_or_default();
    let payment = payments::find(scene.txn, &payment_id).await?.ok_or(PaymentError::PaymentNotFound)?;
    let left = refunds::refundable(scene.txn, &payment).await?;
    let missing = i64::from(order.pages - delivered).saturating_mul(order.unit_minor);
    let to = if delivered > 0 { OrderStatus::Delivered } else { OrderStatus::RefundPending };
    let detail = if report.outcome == Outcome::Delivered { "" } else { cause.name() };
    scene.advance(order, columns, to, detail).await?;
    refunds::begin(scene, order, payment, missing.min(left), (format!("refund:{}", order.id), cause)).await?;
    if order.status == OrderStatus::RefundPending && left == 0 {
        // Everything was refunded by hand or lost in a dispute before.
        scene.advance(order, ActiveModel::default(), OrderStatus::Refunded, "NOTHING_LEFT").await?;
    }
    Ok(())
}
