//! The jobs of paid orders, as payment asks about them.

use quire_fault::{Rule, Violation};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::cancel::{self, Why};
use crate::error::JobError;
use crate::start::id_of_order;
use crate::store::Store;
use crate::store::entity::job;

/// Ids in a question, and jobs on a page.
const MOST: i64 = 500;
/// Characters of an order id.
const LONGEST_ID: usize = 100;

/// The jobs of these orders, for those that have one, in the order of their order ids.
///
/// # Errors
/// More than 500 ids.
pub async fn find(store: &Store, order_ids: &[String]) -> Result<Vec<job::Model>, JobError> {
    if i64::try_from(order_ids.len()).is_ok_and(|count| count <= MOST) {
        let ids = order_ids.iter().map(|order_id| id_of_order(order_id));
        let find = job::Entity::find().filter(job::Column::Id.is_in(ids));
        return Ok(find.order_by_asc(job::Column::OrderId).all(store.database.reader()).await?);
    }
    Err(JobError::Invalid(vec![Violation::new("order_ids", Rule::TooLong(MOST))]))
}

/// The jobs of orders behind an order id, in the order of these ids. `page_size` 0 means 500.
///
/// # Errors
/// A page size that is not from 0 to 500, or a text that is no order id.
pub async fn list(store: &Store, after_order_id: &str, page_size: i32) -> Result<Vec<job::Model>, JobError> {
    let mut violations: Vec<Violation> =
        Violation::range("page_size", page_size.into(), 0, MOST).into_iter().collect();
    violations.extend(Violation::text_length("after_order_id", after_order_id, 0, LONGEST_ID));
    // PostgreSQL refuses U+0000 instead of comparing it.
    if after_order_id.contains(char::is_control) {
        let rule = Rule::Value("this is not an order id".to_owned());
        violations.push(Violation::new("after_order_id", rule));
    }
    if !violations.is_empty() {
        return Err(JobError::Invalid(violations));
    }
    let size = if page_size == 0 { MOST } else { page_size.into() };
    let find = job::Entity::find()
        .filter(job::Column::OrderId.gt(after_order_id))
        .order_by_asc(job::Column::OrderId)
        .limit(size.unsigned_abs());
    Ok(find.all(store.database.reader()).await?)
}

/// Stops the job of an order whose money went back.
///
/// # Errors
/// The order has no job.
pub async fn cancel(store: &Store, order_id: &str) -> Result<job::Model, JobError> {
    cancel::cancel(store, &id_of_order(order_id), Why::Refunded).await
}
