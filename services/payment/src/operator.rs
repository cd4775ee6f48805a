//! What an operator does to payment's database from a terminal, whether payment runs or not.

use quire_database::{Database, DatabaseError, Settings};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, IsolationLevel, TransactionTrait};
use sea_orm::{QueryFilter, QueryOrder, QuerySelect};

use crate::audit;
use crate::store::entity::orders;

const PAGE: u64 = 500;

#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("the payment database cannot be opened")]
    Open(#[from] DatabaseError),
    #[error("the payment database failed")]
    Database(#[from] DbErr),
}

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    pub orders: u64,
    pub rows: u64,
    /// What does not fit, in words: it names the row.
    pub broken: Vec<String>,
}

/// Recomputes the audit chain of every order.
///
/// # Errors
/// The database cannot be read.
pub async fn verify_audit(settings: &Settings) -> Result<Verification, OperatorError> {
    let database = quire_database::open(settings).await?;
    let verified = verify(&database).await;
    if let Err(error) = database.close().await {
        tracing::warn!(%error, "the payment database did not close");
    }
    Ok(verified?)
}

async fn verify(database: &Database) -> Result<Verification, DbErr> {
    let mut verification = Verification { orders: 0, rows: 0, broken: Vec::new() };
    let mut after = String::new();
    // One moment for all: orders go on while their logs are read. On SQLite every transaction sees one moment.
    let isolation = database.is_postgres().then_some(IsolationLevel::RepeatableRead);
    let moment = database.reader().begin_with_config(isolation, None).await?;
    loop {
        let page = orders::Entity::find()
            .filter(orders::Column::Id.gt(&after))
            .order_by_asc(orders::Column::Id)
            .limit(PAGE)
            .all(&moment)
            .await?;
        let Some(last) = page.last() else { break };
        after = last.id.clone();
        for order in page {
            verification.orders += 1;
            verification.rows += order.audit_seq.unsigned_abs();
            verification.broken.extend(audit::verify(&moment, &order).await?);
        }
    }
    moment.commit().await?;
    Ok(verification)
}
