//! Paid orders against jobs, in both directions.

use std::collections::HashMap;

use quire_clock::World;
use quire_database::Database;
use quire_proto::job::v1::{JobStatus, OrderJob};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Finding, Kind, Reconciler, Run};
use crate::error::PaymentError;
use crate::orders::is_id;
use crate::outbox;
use crate::settle::{Outcome, Report};
use crate::store;
use crate::store::entity::orders::{self, Model as Order, OrderStatus};

/// The most that the job service answers at once.
const PAGE: i32 = 500;

impl Run<'_> {
    /// Paid orders must have a job, and one that has ended must be known to have.
    pub(super) async fn paid_orders(&self) -> Result<(), PaymentError> {
        let mut after = String::new();
        loop {
            let page = orders::Entity::find()
                .filter(orders::Column::Status.eq(OrderStatus::Paid))
                .filter(orders::Column::PaidAt.lte(self.settled_before()))
                .filter(orders::Column::Id.gt(&after))
                .order_by_asc(orders::Column::Id)
                .limit(u64::from(PAGE.unsigned_abs()))
                .all(self.reconciler.database.reader())
                .await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id.clone();
            let ids = page.iter().map(|order| order.id.clone()).collect();
            let jobs = self.reconciler.peers.find_order_jobs(ids).await.map_err(PaymentError::Peer)?;
            let jobs: HashMap<&str, &OrderJob> =
                jobs.iter().map(|job| (job.order_id.as_str(), job)).collect();
            for order in page {
                match jobs.get(order.id.as_str()) {
                    None => self.without_job(order).await?,
                    Some(job) => self.with_job(order, job).await?,
                }
            }
        }
    }

    async fn without_job(&self, order: Order) -> Result<(), PaymentError> {
        let mut mended = false;
        if !self.dry_run {
            let Reconciler { database, world, inbox, .. } = self.reconciler;
            mended = wish_anew(database, world, &order.id).await?;
            inbox.wake.notify_one();
        }
        let detail = "paid, and no job".to_owned();
        let subject = order.provider_payment_id.unwrap_or_default();
        self.tell(Finding { kind: Kind::PaidWithoutJob, order_id: order.id, subject, detail, mended }).await;
        Ok(())
    }

    async fn with_job(&self, order: Order, job: &OrderJob) -> Result<(), PaymentError> {
        let outcome = match job.status() {
            JobStatus::Completed => Outcome::Delivered,
            JobStatus::Failed => Outcome::Failed,
            JobStatus::Cancelled => Outcome::Cancelled,
            JobStatus::Unspecified | JobStatus::Queued | JobStatus::Running | JobStatus::Paused => {
                return Ok(());
            }
        };
        if !self.dry_run {
            let report = Report {
                order_id: &order.id,
                job_id: &job.job_id,
                outcome,
                delivered_pages: job.delivered_pages,
            };
            self.reconciler.settlement.settle(report).await?;
        }
        let detail = format!("the job is {}", job.status().as_str_name());
        let (kind, mended) = (Kind::OutcomeMissed, !self.dry_run);
        self.tell(Finding { kind, order_id: order.id, subject: job.job_id.clone(), detail, mended }).await;
        Ok(())
    }

    /// Jobs must have an order that is or was paid.
    pub(super) async fn jobs(&self) -> Result<(), PaymentError> {
        let mut after = String::new();
        loop {
            let jobs = self.reconciler.peers.list_order_jobs(&after, PAGE).await;
            let jobs = jobs.map_err(PaymentError::Peer)?;
            let Some(last) = jobs.last() else { return Ok(()) };
            after = last.order_id.clone();
            let ids: Vec<&str> =
                jobs.iter().map(|job| job.order_id.as_str()).filter(|id| is_id(id)).collect();
            let known = orders::Entity::find()
                .filter(orders::Column::Id.is_in(ids))
                .all(self.reconciler.database.reader())
                .await?;
            let known: HashMap<&str, &Order> = known.iter().map(|order| (order.id.as_str(), order)).collect();
            for job in &jobs {
                if let Some(detail) = unpaid(known.get(job.order_id.as_str()).copied(), job) {
                    self.without_payment(job, known.get(job.order_id.as_str()).copied(), detail).await?;
                }
            }
        }
    }

    async fn without_payment(
        &self,
        job: &OrderJob,
        order: Option<&Order>,
        detail: &'static str,
    ) -> Result<(), PaymentError> {
        let mut mended = false;
        if !self.dry_run {
            if let Some(order) = order.filter(|order| order.paid_at.is_none()) {
                // Perhaps it is only we who do not know that it was paid.
                self.reconciler.checkout.check(order, false).await?;
                let now = crate::store::order(self.reconciler.database.reader(), &order.id).await?;
                mended = now.is_some_and(|order| order.paid_at.is_some());
            }
            if !mended && !has_ended(job) {
                let cancelled = self.reconciler.peers.cancel_order_job(&job.order_id).await;
                cancelled.map_err(PaymentError::Peer)?;
                mended = true;
            }
        }
        let (kind, detail) = (Kind::JobWithoutPayment, detail.to_owned());
        let (order_id, subject) = (job.order_id.clone(), job.job_id.clone());
        self.tell(Finding { kind, order_id, subject, detail, mended }).await;
        Ok(())
    }
}

/// Wishes again for the job of an order, whatever became of the first wish. `false`: the money went back since the order
/// was read, so that there is to be no job, or a worker has the wish.
async fn wish_anew(database: &Database, world: &World, order_id: &str) -> Result<bool, PaymentError> {
    let txn = database.begin_write().await?;
    let order = store::lock_order(&txn, order_id).await?;
    let Some(order) = order.filter(|order| order.status == OrderStatus::Paid) else {
        return Ok(false);
    };
    // Written anew in case the wish itself is gone.
    outbox::wish_for_job(&txn, world, &order).await?;
    let wished = outbox::wish_again(&txn, order_id).await?;
    txn.commit().await?;
    Ok(wished)
}

/// What is wrong with a job's order, if anything.
fn unpaid(order: Option<&Order>, job: &OrderJob) -> Option<&'static str> {
    let Some(order) = order else {
        return Some("there is no such order");
    };
    match order.status {
        _ if order.paid_at.is_none() => Some("the order was never paid"),
        OrderStatus::Quarantined => Some("the payment contradicts the quote"),
        OrderStatus::Refunded if !has_ended(job) => Some("the money went back, the job goes on"),
        _ => None,
    }
}

fn has_ended(job: &OrderJob) -> bool {
    matches!(job.status(), JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled)
}

#[cfg(test)]
mod tests {
    use quire_testkit::Backend;

    use super::*;
    use crate::checkout::tests::{checkout, insert};

    /// Found by the model: the mend read the order first and looked no second time.
    async fn an_order_that_was_refunded_since_it_was_read_gets_no_job(backend: Backend) {
        let (checkout, _file) = checkout(backend, "http://127.0.0.1:1").await;
        let order = insert(&checkout, |order| order.status = OrderStatus::Paid).await;
        let txn = checkout.database.begin_write().await.unwrap();
        outbox::wish_for_job(&txn, &checkout.world, &order).await.unwrap();
        assert!(outbox::withdraw(&txn, &checkout.world, &order.id).await.unwrap());
        let columns = orders::ActiveModel {
            status: sea_orm::ActiveValue::Set(OrderStatus::Refunded),
            ..Default::default()
        };
        let of_order = orders::Column::Id.eq(&order.id);
        orders::Entity::update_many().set(columns).filter(of_order).exec(&txn).await.unwrap();
        txn.commit().await.unwrap();
        assert!(!wish_anew(&checkout.database, &checkout.world, &order.id).await.unwrap());
        let intent = outbox::start_intent(&order.id);
        assert!(outbox::is_done(checkout.database.reader(), &intent).await.unwrap());

        let paid = insert(&checkout, |order| order.status = OrderStatus::Paid).await;
        assert!(wish_anew(&checkout.database, &checkout.world, &paid.id).await.unwrap());
    }

    quire_testkit::on_both_databases!(an_order_that_was_refunded_since_it_was_read_gets_no_job);
}
