//! The event log of a job.
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
//! | `outline_approved` | `chapters`, `sections`, and `left_out`: sections that the sources have nothing for |
//! | `section_started` | `key`, `title`, `section` and `sections` (counted from 1), `restart` |
//! | `text` | `key`, `offset`, `text` |
//! | `section_done` | `key`, `title`, `section`, `sections`, `writer`, and `forecast`: `finish_p50`, `finish_p90`, `cost_micro` |
//! | `typesetting` | `replaced`, if characters had to be: those without a glyph, as `U+4E2D` |
//! | `fallback` | `step`, `from` and `to` (writers), `reason`: `refused`, `unavailable` or `retries_exhausted`, `message` |
//! | `retrying` | `step`, `retry` (counted from 1), `delay_ms`, `reason` |
//! | `paused` | `reason`: `owner`, `operator`, `budget_exhausted` or `outline_review` |
//! | `resumed` | |
//! | `completed` | `pages` |
//! | `failed` | `reason`, `message` |
//! | `cancelled` | `pages`, if the part that was finished was delivered |
//!
//! Several sections may be written at the same time: their events come mixed, each with the `key` of its section. The
//! `text` events of a section, put together, are its text as it was written; `offset` counts the UTF-8 bytes
//! before the piece. A section that was broken off starts again: its `section_started` then has `restart: true`,
//! and a reader drops the text of that section that it has. Text of finished sections never comes again.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Queued,
    Started,
    Planned,
    OutlineApproved,
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
            Self::OutlineApproved => "outline_approved",
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
pub fn is_final(kind: &str) -> bool {
    [Kind::Completed, Kind::Failed, Kind::Cancelled].iter().any(|last| last.name() == kind)
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
