//! The event log of a job, and following it.
//!
//! Events are numbered from 1 without gaps and stay until some days after the job's end. What each kind carries, beside `percent` where the job
//! moves on:
//!
//! | kind | data |
//! |---|---|
//! | `queued` | `pages` |
//! | `requeued` | `from`, the job that failed, and `sections` that are taken over |
//! | `started` | `attempt` |
//! | `planned` | `chapters`, `sections` |
//! | `section_started` | `key`, `title`, `section` and `sections` (counted from 1), `restart` |
//! | `text` | `key`, `offset`, `text` |
//! | `section_done` | `key`, `title`, `section`, `sections`, `writer` |
//! | `typesetting` | `replaced`, if characters had to be: those without a glyph, as `U+4E2D` |
//! | `fallback` | `step`, `from` and `to` (writers), `reason`: `refused`, `unavailable` or `retries_exhausted`, `message` |
//! | `retrying` | `step`, `retry` (counted from 1), `delay_ms`, `reason` |
//! | `paused` | `reason`: `owner`, `operator` or `budget_exhausted` |
//! | `resumed` | |
//! | `completed` | `pages` |
//! | `failed` | `reason`, `message` |
//! | `cancelled` | `pages`, if the part that was finished was delivered |
//!
//! The `text` events of a section, put together, are its text as it was written; `offset` counts the UTF-8 bytes
//! before the piece. A section that was broken off starts again: its `section_started` then has `restart: true`,
//! and a reader drops the text of that section that it has. Text of finished sections never comes again.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::store::Store;
use crate::store::entity::event;

/// Events read at once.
const BATCH: u64 = 200;
/// Without a wake-up, a watcher looks this often: events may come from another process.
const POLL: Duration = Duration::from_millis(500);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Queued,
    Started,
    Planned,
    SectionStarted,
    Text,
    SectionDone,
    Typesetting,
    Fallback,
    Retrying,
    Paused,
    Resumed,
    Requeued,
    Completed,
    Failed,
    Cancelled,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Planned => "planned",
            Self::SectionStarted => "section_started",
            Self::Text => "text",
            Self::SectionDone => "section_done",
            Self::Typesetting => "typesetting",
            Self::Fallback => "fallback",
            Self::Retrying => "retrying",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Requeued => "requeued",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Whether nothing comes after an event of this name.
fn is_final(kind: &str) -> bool {
    [Kind::Completed, Kind::Failed, Kind::Cancelled].iter().any(|last| last.name() == kind)
}

/// Every event of a job after a number, then new ones as they come. Ends after the job's last event, and at the
/// shutdown.
pub fn watch(
    store: Store,
    job_id: String,
    after_seq: i64,
    shutdown: CancellationToken,
) -> impl Stream<Item = Result<event::Model, DbErr>> + Send {
    async_stream::try_stream! {
        // Subscribed before the first look, so that nothing falls between the two.
        let mut wakes = store.wakes.events.subscribe();
        let mut after = after_seq;
        loop {
            // In this order: after the end there are no events that the reading could miss.
            let ended = store.job(&job_id).await?.is_none_or(|job| job.status().is_final());
            let events = read(&store, &job_id, after).await?;
            let found = !events.is_empty();
            for event in events {
                after = event.seq;
                let last = is_final(&event.kind);
                yield event;
                if last {
                    return;
                }
            }
            if found {
                continue;
            }
            // A reader that has seen the last event already, or comes when they are deleted.
            if ended {
                return;
            }
            tokio::select! {
                () = woken(&mut wakes, &job_id) => {}
                () = tokio::time::sleep(POLL) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }
}

async fn read(store: &Store, job_id: &str, after: i64) -> Result<Vec<event::Model>, DbErr> {
    event::Entity::find()
        .filter(event::Column::JobId.eq(job_id))
        .filter(event::Column::Seq.gt(after))
        .order_by_asc(event::Column::Seq)
        .limit(BATCH)
        .all(store.database.reader())
        .await
}

/// Waits for a wake-up of this job; one that got lost among many others counts too.
pub async fn woken(wakes: &mut Receiver<Arc<str>>, job_id: &str) {
    loop {
        match wakes.recv().await {
            Ok(id) if &*id == job_id => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            // Polling goes on without it.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
