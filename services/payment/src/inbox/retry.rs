//! Events that could not be applied, tried again without the provider; and the end of what is old.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use quire_clock::World;
use quire_idempotency::Keys;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use tokio_util::sync::CancellationToken;

use super::event::Event;
use super::{Inbox, PANICKED, Verdict};
use crate::apply::Applied;
use crate::backoff::full_jitter;
use crate::error::PaymentError;
use crate::store;
use crate::store::entity::inbox::{Column, Entity, InboxStatus, Model};

pub(crate) const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// After so many failures an event is dead, until an operator redrives it.
pub(crate) const MAX_ATTEMPTS: i32 = 12;
const POLL: Duration = Duration::from_secs(2);
const BATCH: u64 = 50;
/// Pruning is cheap, but not urgent.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// Tries again what is due, and prunes what is older than `retention`, until the shutdown.
pub(crate) async fn run(inbox: Inbox, keys: Keys, retention: Duration, shutdown: CancellationToken) {
    let mut pruned = None;
    let keep_trying = async {
        loop {
            if let Err(error) = pass(&inbox).await {
                tracing::warn!(%error, "events cannot be tried again");
            }
            let now = inbox.world.now();
            if pruned.is_none_or(|last| now >= last) {
                pruned = Some(now.plus(PRUNE_EVERY));
                let pruning = async {
                    prune(&inbox, retention).await?;
                    keys.prune(retention).await
                };
                if let Err(error) = pruning.await {
                    tracing::warn!(%error, "what is old cannot be pruned");
                }
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = keep_trying => {}
    }
}

async fn pass(inbox: &Inbox) -> Result<(), PaymentError> {
    let due = Entity::find()
        .filter(Column::Status.eq(InboxStatus::Received))
        .filter(Column::NextAt.lte(inbox.world.now().unix_micros()))
        .order_by_asc(Column::NextAt)
        .limit(BATCH)
        .all(inbox.database.reader())
        .await?;
    for row in due {
        again(inbox, &row).await?;
    }
    Ok(())
}

/// Tries an event that is not finished. Several processes may do so at once: one of them finds it unfinished.
pub(crate) async fn again(inbox: &Inbox, row: &Model) -> Result<Verdict, PaymentError> {
    let tried = AssertUnwindSafe(apply(inbox, row)).catch_unwind().await;
    let error = match tried {
        Ok(Ok(None)) => return Ok(Verdict::Duplicate),
        Ok(Ok(Some(applied))) => {
            inbox.wake.notify_one();
            return Ok(Verdict::Stored { status: applied.status, reason: applied.reason });
        }
        Ok(Err(error)) if error.may_pass() => return Err(error),
        Ok(Err(error)) => error.to_string(),
        Err(_) => PANICKED.to_owned(),
    };
    let txn = inbox.database.begin_write().await?;
    put_off(&txn, &inbox.world, row, error).await?;
    txn.commit().await?;
    Ok(Verdict::Deferred)
}

/// Notes that an event could not be applied: it is tried again later, or is dead.
pub(super) async fn put_off(
    txn: &DatabaseTransaction,
    world: &World,
    row: &Model,
    error: String,
) -> Result<(), DbErr> {
    let attempts = row.attempts.saturating_add(1);
    let dead = attempts >= MAX_ATTEMPTS;
    tracing::error!(event = row.event_id, attempts, dead, error, "an event could not be applied");
    let failures = u32::try_from(attempts).unwrap_or(u32::MAX);
    let wait = full_jitter(world, FIRST_WAIT, LONGEST_WAIT, failures);
    let status = if dead { InboxStatus::Dead } else { InboxStatus::Received };
    Entity::update_many()
        .col_expr(Column::Attempts, Expr::value(attempts))
        .col_expr(Column::Status, Expr::value(sea_orm::ActiveEnum::to_value(&status)))
        .col_expr(Column::NextAt, Expr::value(world.now().plus(wait).unix_micros()))
        .col_expr(Column::LastError, Expr::value(error))
        .filter(Column::EventId.eq(&row.event_id))
        .filter(Column::Attempts.eq(row.attempts))
        .filter(Column::Status.is_in([InboxStatus::Parked, InboxStatus::Received, InboxStatus::Dead]))
        .exec(txn)
        .await?;
    Ok(())
}

/// Nothing: somebody else has finished it.
async fn apply(inbox: &Inbox, row: &Model) -> Result<Option<Applied>, PaymentError> {
    let event = Event::parse(row.payload.as_bytes())?;
    let txn = inbox.database.begin_write().await?;
    let stored = Entity::find_by_id(&row.event_id).lock_exclusive().one(&txn).await?;
    if stored.is_none_or(|stored| !super::is_unfinished(stored.status)) {
        return Ok(None);
    }
    let applied = inbox.apply(&txn, &event).await?;
    store::finish_event(&txn, &event.id, applied.status, applied.reason).await?;
    txn.commit().await?;
    Ok(Some(applied))
}

/// Ends what is older than the retention: finished events are dropped, since the business keys stay for ever; what was
/// parked so long belongs to somebody else. Quarantined and dead events wait for an operator.
async fn prune(inbox: &Inbox, retention: Duration) -> Result<(), DbErr> {
    let oldest = inbox.world.now().minus(retention).unix_micros();
    let txn = inbox.database.begin_write().await?;
    Entity::delete_many()
        .filter(Column::Status.is_in([InboxStatus::Done, InboxStatus::Ignored]))
        .filter(Column::ReceivedAt.lt(oldest))
        .exec(&txn)
        .await?;
    Entity::update_many()
        .col_expr(Column::Status, Expr::value(sea_orm::ActiveEnum::to_value(&InboxStatus::Ignored)))
        .col_expr(Column::Reason, Expr::value("NEVER_CLAIMED"))
        .filter(Column::Status.eq(InboxStatus::Parked))
        .filter(Column::ReceivedAt.lt(oldest))
        .exec(&txn)
        .await?;
    txn.commit().await
}
