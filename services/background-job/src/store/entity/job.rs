//! A job and where it stands.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "jobs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// `None` for an operator's job, and for one that only plans.
    pub order_id: Option<String>,
    pub document_id: String,
    pub user_id: String,
    pub pages: i32,
    pub status: String,
    pub step: String,
    pub sections_done: i32,
    pub sections_total: i32,
    pub percent: i32,
    /// Claims so far.
    pub attempt: i32,
    /// Counted retries of the present step so far.
    pub step_retries: i32,
    /// Attempts that ended without a word during the present step.
    pub crash_count: i32,
    /// Database time.
    pub run_at: i64,
    pub cancel_requested_at: Option<i64>,
    pub failure: String,
    pub counted_pages: i32,
    pub last_seq: i64,
    pub created_at: i64,
    pub finished_at: Option<i64>,
    /// How often the present step was put off because something outside it did not answer.
    pub stalls: i32,
    /// When that began; database time.
    pub stalled_since: Option<i64>,
    /// Pages of the part that was delivered although the job was cancelled, at most those that were paid; else 0.
    pub part_pages: i32,
    /// When payment said that the money of the order went back; database time.
    pub refunded_at: Option<i64>,
    /// 0 to 9, the higher first.
    pub priority: i32,
    /// When somebody wanted to pause it while it ran.
    pub pause_requested_at: Option<i64>,
    /// Since when it is paused.
    pub paused_at: Option<i64>,
    /// Who wanted that; empty: nobody.
    pub pause_reason: String,
    /// When its events were deleted.
    pub events_pruned_at: Option<i64>,
    /// What it is to do.
    pub purpose: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
