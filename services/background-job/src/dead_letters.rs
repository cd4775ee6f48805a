//! Messages that their receivers refuse for good. An operator looks at them, has the cause mended, and sends them again.

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::error::JobError;
use crate::query::is_id;
use crate::store::Store;
use crate::store::entity::outbox;

const MOST: u64 = 500;

/// At most 500, the oldest first.
///
/// # Errors
/// The database is gone.
pub async fn list(store: &Store) -> Result<Vec<outbox::Model>, JobError> {
    let find = outbox::Entity::find().filter(outbox::Column::DeadAt.is_not_null());
    let find = find.order_by_asc(outbox::Column::DeadAt).order_by_asc(outbox::Column::JobId).limit(MOST);
    Ok(find.all(store.database.reader()).await?)
}

/// Sends a dead letter again, as often as a new message. False if it is none.
///
/// # Errors
/// The database is gone.
pub async fn redrive(store: &Store, job_id: &str, kind: &str) -> Result<bool, JobError> {
    if !is_id(job_id) || !is_id(kind) {
        return Ok(false);
    }
    let tx = store.database.begin_write().await?;
    let redriven = outbox::Entity::update_many()
        .col_expr(outbox::Column::DeadAt, Expr::value(None::<i64>))
        .col_expr(outbox::Column::Attempts, Expr::value(0))
        .col_expr(outbox::Column::NextAt, Expr::value(0_i64))
        .filter(outbox::Column::JobId.eq(job_id))
        .filter(outbox::Column::Kind.eq(kind))
        .filter(outbox::Column::DeadAt.is_not_null())
        .exec(&tx)
        .await?;
    tx.commit().await?;
    store.wakes.outbox.notify_waiters();
    Ok(redriven.rows_affected == 1)
}
