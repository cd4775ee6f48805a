//! Retention: old rows are deleted from the beginning of the log, and the head remembers the hash of the last one,
//! so that what is left can still be verified.

use async_trait::async_trait;
use quire_clock::Timestamp;
use quire_identity::Origin;
use sea_orm::DbErr;

use super::{Attempt, LOG_PRUNED};
use crate::change::{Change, Step};
use crate::error::AuthError;
use crate::{change::Writer, store};

/// Rows deleted in one transaction: others wait for it.
const AT_ONCE: i64 = 5000;

/// Deletes rows from before a moment, some at a time. Answers how many.
///
/// # Errors
/// The database refused.
pub async fn prune(writer: &Writer, before: Timestamp) -> Result<i64, AuthError> {
    let mut all = 0;
    loop {
        let gone = writer.commit(Prune { before }).await?;
        all += gone;
        if gone < AT_ONCE {
            return Ok(all);
        }
    }
}

struct Prune {
    before: Timestamp,
}

#[async_trait]
impl Change for Prune {
    type Outcome = i64;

    async fn apply(&self, step: &mut Step<'_>) -> Result<i64, DbErr> {
        let head = store::head(step.connection).await?;
        let first_kept = store::first_since(step.connection, self.before.unix_micros()).await?;
        let last = first_kept.map_or(head.seq, |seq| seq - 1).min(head.pruned_seq + AT_ONCE);
        let Some(last) = store::event_at(step.connection, last).await? else { return Ok(0) };
        if last.seq <= head.pruned_seq {
            return Ok(0);
        }
        store::prune(step.connection, &last).await?;
        let attempt = Attempt { action: LOG_PRUNED, ..Attempt::default() };
        step.record(&Origin::default(), attempt, "");
        Ok(last.seq - head.pruned_seq)
    }
}
