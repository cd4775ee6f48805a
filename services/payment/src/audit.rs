//! The audit of an order: one row for every change, each chained by a hash to the one before, and the newest hash kept
//! with the order. Whoever alters, drops or inserts a row breaks the chain of that order.

use quire_clock::World;
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveEnum, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait};
use sea_orm::{QueryFilter, QueryOrder};
use sha2::{Digest, Sha256};

use crate::store::entity::audit::{ActiveModel, Column, Entity, Model};
use crate::store::entity::orders::{Model as Order, OrderStatus};

/// What happened and why.
pub(crate) struct Step<'a> {
    /// The order's own status when it did not change.
    pub(crate) to: OrderStatus,
    /// The event, service, task or administrator that causes it.
    pub(crate) actor: &'a str,
    pub(crate) detail: &'a str,
}

/// The newest link of an order's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) seq: i64,
    pub(crate) hash: String,
}

/// Writes the next row of an order that this transaction has locked.
pub(crate) async fn append(
    txn: &DatabaseTransaction,
    world: &World,
    order: &Order,
    step: Step<'_>,
) -> Result<Link, DbErr> {
    let mut row = Model {
        id: world.id(),
        order_id: order.id.clone(),
        from_status: order.status.to_value(),
        to_status: step.to.to_value(),
        actor: step.actor.to_owned(),
        detail: step.detail.to_owned(),
        at: world.now().unix_micros(),
        seq: order.audit_seq + 1,
        hash: String::new(),
    };
    row.hash = hash(&order.audit_hash, &row);
    let link = Link { seq: row.seq, hash: row.hash.clone() };
    let columns = ActiveModel {
        id: Set(row.id),
        order_id: Set(row.order_id),
        from_status: Set(row.from_status),
        to_status: Set(row.to_status),
        actor: Set(row.actor),
        detail: Set(row.detail),
        at: Set(row.at),
        seq: Set(row.seq),
        hash: Set(row.hash),
    };
    Entity::insert(columns).exec_without_returning(txn).await?;
    Ok(link)
}

/// Recomputes the chain of one order, in a transaction that sees one moment. Answers the first row that does not fit, in
/// words for an operator.
///
/// # Errors
/// The database is gone.
pub(crate) async fn verify(
    connection: &impl ConnectionTrait,
    order: &Order,
) -> Result<Option<String>, DbErr> {
    let rows = Entity::find()
        .filter(Column::OrderId.eq(&order.id))
        // Rows from before the chain have no number.
        .filter(Column::Seq.gt(0))
        .order_by_asc(Column::Seq)
        .order_by_asc(Column::Id)
        .all(connection)
        .await?;
    let mut link = Link { seq: 0, hash: String::new() };
    for row in rows {
        if row.seq > order.audit_seq {
            return Ok(Some(format!("row {} of order {} was added", row.seq, order.id)));
        }
        if row.seq != link.seq + 1 {
            return Ok(Some(format!("row {} of order {} is missing", link.seq + 1, order.id)));
        }
        if row.hash != hash(&link.hash, &row) {
            return Ok(Some(format!("row {} of order {} was altered", row.seq, order.id)));
        }
        link = Link { seq: row.seq, hash: row.hash };
    }
    let fits = link.seq == order.audit_seq && link.hash == order.audit_hash;
    Ok((!fits).then(|| format!("the end of the log of order {} is missing", order.id)))
}

/// SHA-256, hex, over the hash before and every member of the row, each with its length before it.
fn hash(previous: &str, row: &Model) -> String {
    let mut digest = Sha256::new();
    let (seq, at) = (row.seq.to_string(), row.at.to_string());
    let members = [
        previous,
        &row.id,
        &row.order_id,
        &seq,
        &row.from_status,
        &row.to_status,
        &row.actor,
        &row.detail,
        &at,
    ];
    for member in members {
        digest.update(member.len().to_be_bytes());
        digest.update(member);
    }
    hex::encode(digest.finalize())
}
