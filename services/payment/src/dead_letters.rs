//! What was given up: events that could not be applied, tasks that their receivers refuse. An operator looks at them, has
//! the cause mended, and redrives them.

use quire_clock::World;
use quire_database::Database;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::error::PaymentError;
use crate::inbox::{Inbox, retry};
use crate::metrics::PaymentMetrics;
use crate::outbox;
use crate::store;
use crate::store::entity::inbox::{Column as EventColumn, Entity as Events, InboxStatus};
use crate::store::entity::outbox::{Column as TaskColumn, Entity as Tasks};

const MOST: u64 = 500;

/// What it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Event,
    Task,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    pub(crate) what: What,
    pub(crate) id: String,
    pub(crate) order_id: String,
    /// Type of the event, or intent of the task.
    pub(crate) subject: String,
    pub(crate) attempts: i32,
    pub(crate) last_error: String,
    pub(crate) created_at: i64,
}

/// The dead letters of this service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    pub(crate) inbox: Inbox,
}

impl DeadLetters {
    fn database(&self) -> &Database {
        &self.inbox.database
    }

    /// At most 500, the oldest first.
    ///
    /// # Errors
    /// The database is gone.
    pub(crate) async fn list(&self) -> Result<Vec<DeadLetter>, PaymentError> {
        let reader = self.database().reader();
        let events = Events::find().filter(EventColumn::Status.eq(InboxStatus::Dead));
        let events = events.order_by_asc(EventColumn::ReceivedAt).limit(MOST).all(reader).await?;
        let events = events.into_iter().map(|row| DeadLetter {
            what: What::Event,
            id: row.event_id,
            order_id: row.order_id.unwrap_or_default(),
            subject: row.kind,
            attempts: row.attempts,
            last_error: row.last_error,
            created_at: row.received_at,
        });
        let tasks = Tasks::find().filter(TaskColumn::DeadAt.is_not_null());
        let tasks = tasks.order_by_asc(TaskColumn::CreatedAt).limit(MOST).all(reader).await?;
        let tasks = tasks.into_iter().map(|row| DeadLetter {
            what: What::Task,
            id: row.id,
            order_id: row.order_id,
            subject: row.intent,
            attempts: row.attempts,
            last_error: row.last_error,
            created_at: row.created_at,
        });
        let mut all: Vec<DeadLetter> = events.chain(tasks).collect();
        all.sort_by_key(|letter| letter.created_at);
        all.truncate(usize::try_from(MOST).unwrap_or(usize::MAX));
        Ok(all)
    }

    /// Tries one again. `false`: it is not dead.
    ///
    /// # Errors
    /// The database is gone.
    pub(crate) async fn redrive(&self, what: What, id: &str) -> Result<bool, PaymentError> {
        if id.contains(char::is_control) {
            return Ok(false);
        }
        let txn = self.database().begin_write().await?;
        let redriven = match what {
            What::Task => outbox::redrive(&txn, id).await?,
            What::Event => revive(&txn, &self.inbox.world, id).await?,
        };
        txn.commit().await?;
        if redriven
            && what == What::Event
            && let Some(row) = store::event(self.database().reader(), id).await?
        {
            retry::again(&self.inbox, &row).await?;
        }
        self.inbox.wake.notify_one();
        Ok(redriven)
    }
}

async fn revive(
    txn: &sea_orm::DatabaseTransaction,
    world: &World,
    event_id: &str,
) -> Result<bool, sea_orm::DbErr> {
    let updated = Events::update_many()
        .col_expr(EventColumn::Status, Expr::value(sea_orm::ActiveEnum::to_value(&InboxStatus::Received)))
        .col_expr(EventColumn::Attempts, Expr::value(0))
        .col_expr(EventColumn::NextAt, Expr::value(world.now().unix_micros()))
        .filter(EventColumn::EventId.eq(event_id))
        .filter(EventColumn::Status.eq(InboxStatus::Dead))
        .exec(txn)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Counts them for the metrics.
///
/// # Errors
/// The database is gone.
pub(crate) async fn measure(database: &Database, metrics: &PaymentMetrics) -> Result<(), PaymentError> {
    let reader = database.reader();
    let events = Events::find().filter(EventColumn::Status.eq(InboxStatus::Dead)).count(reader).await?;
    let tasks = Tasks::find().filter(TaskColumn::DeadAt.is_not_null()).count(reader).await?;
    metrics.dead_letters(events, tasks);
    Ok(())
}
