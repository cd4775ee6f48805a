//! Orders and payments against what the provider says of them now, and the ledger against itself.

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement};

use super::{Finding, Kind, Run, Scope};
use crate::apply::Scene;
use crate::books::{payments, refunds};
use crate::error::PaymentError;
use crate::inbox::event::Fact;
use crate::store;
use crate::store::entity::orders::{self, Model as Order, OrderStatus};
use crate::store::entity::payments::{Column as PaymentColumn, Entity as Payments, Model as Payment};

const PAGE: u64 = 200;

impl Run<'_> {
    /// Orders that may still be paid as far as we know.
    pub(super) async fn unsettled_orders(&self) -> Result<(), PaymentError> {
        if self.scope != Scope::Everything {
            // The sweep asks about them anyway.
            return Ok(());
        }
        let mut after = String::new();
        loop {
            let page = orders::Entity::find()
                .filter(orders::Column::Status.is_in(OrderStatus::UNSETTLED))
                .filter(orders::Column::Id.gt(&after))
                .order_by_asc(orders::Column::Id)
                .limit(PAGE)
                .all(self.reconciler.database.reader())
                .await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id.clone();
            for order in page {
                self.unsettled_order(order).await?;
            }
        }
    }

    async fn unsettled_order(&self, order: Order) -> Result<(), PaymentError> {
        let checkout = &self.reconciler.checkout;
        let Some(detail) = checkout.difference(&order).await? else {
            return Ok(());
        };
        if !self.dry_run {
            checkout.check(&order, false).await?;
        }
        let subject = order.provider_object().unwrap_or_default().to_owned();
        let (kind, mended) = (Kind::OrderBehind, !self.dry_run);
        self.tell(Finding { kind, order_id: order.id, subject, detail: detail.to_owned(), mended }).await;
        Ok(())
    }

    /// What went back of each payment. The janitor looks only at those of which something is to go back.
    pub(super) async fn refunds(&self) -> Result<(), PaymentError> {
        let mut after = String::new();
        loop {
            let mut select = Payments::find()
                .filter(PaymentColumn::Id.gt(&after))
                .filter(PaymentColumn::At.gte(self.since()))
                .filter(PaymentColumn::At.lte(self.settled_before()));
            if self.scope != Scope::Everything {
                select = select
                    .filter(Expr::col(PaymentColumn::DueMinor).gt(Expr::col(PaymentColumn::DrawnMinor)));
            }
            let page = select.order_by_asc(PaymentColumn::Id).limit(PAGE);
            let page = page.all(self.reconciler.database.reader()).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id.clone();
            for payment in page {
                self.refunds_of(payment).await?;
            }
        }
    }

    async fn refunds_of(&self, payment: Payment) -> Result<(), PaymentError> {
        let intent = self.reconciler.provider.find_payment_intent(&payment.id).await?;
        let Some(amount_refunded) = intent.and_then(|intent| intent.refunded_minor()) else {
            return Ok(());
        };
        if amount_refunded == payment.refunded_minor || !(0..=payment.amount_minor).contains(&amount_refunded)
        {
            return Ok(());
        }
        if !self.dry_run {
            self.mend_refunds(&payment, amount_refunded).await?;
        }
        let detail = format!("{amount_refunded} at the provider, {} here", payment.refunded_minor);
        let (kind, mended) = (Kind::RefundDiffers, !self.dry_run);
        self.tell(Finding { kind, order_id: payment.order_id, subject: payment.id, detail, mended }).await;
        Ok(())
    }

    async fn mend_refunds(&self, payment: &Payment, total: i64) -> Result<(), PaymentError> {
        let words = self.reconciler.provider.list_refunds(&payment.id).await?;
        let txn = self.reconciler.database.begin_write().await?;
        let Some(mut order) = store::lock_order(&txn, &payment.order_id).await? else {
            return Ok(());
        };
        let scene = Scene { txn: &txn, world: &self.reconciler.world, actor: "reconcile" };
        let again = async || payments::find(&txn, &payment.id).await?.ok_or(PaymentError::PaymentNotFound);
        for word in words {
            scene.learn(&mut order, again().await?, &Fact::Refund(word)).await?;
        }
        refunds::correct_total(&scene, &mut order, again().await?, total).await?;
        txn.commit().await?;
        Ok(())
    }

    /// Double entry: the entries of an order sum to zero in each currency.
    pub(super) async fn ledger(&self) -> Result<(), PaymentError> {
        let reader = self.reconciler.database.reader();
        let sql = "SELECT order_id, currency, CAST(SUM(amount_minor) AS BIGINT) AS sum FROM ledger_entries
            GROUP BY order_id, currency HAVING SUM(amount_minor) <> 0";
        let rows = reader.query_all_raw(Statement::from_string(reader.get_database_backend(), sql)).await?;
        for row in rows {
            let (order_id, subject): (String, String) =
                (row.try_get("", "order_id")?, row.try_get("", "currency")?);
            let sum: i64 = row.try_get("", "sum")?;
            let (kind, detail) = (Kind::LedgerUnbalanced, format!("the entries sum to {sum}"));
            self.tell(Finding { kind, order_id, subject, detail, mended: false }).await;
        }
        Ok(())
    }
}
