//! Table `documents`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "documents")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub user_id: String,
    pub title: String,
    pub topic: String,
    pub language: String,
    pub target_pages: i32,
    pub kind: String,
    pub writer: String,
    /// Names between commas, in order.
    pub fallback_writers: String,
    pub status: String,
    pub counted_pages: i32,
    pub failure: String,
    pub job_id: Option<String>,
    pub job_epoch: i64,
    pub delivered_job_id: Option<String>,
    pub wished_chapters: String,
    pub outline: Option<String>,
    pub outline_job_id: Option<String>,
    pub review_outline: bool,
    /// Empty, `waiting` for the customer or `taken` by the job.
    pub outline_review: String,
    /// JSON: an outline that was planned before the order, and for which revision of the document.
    pub preview: Option<String>,
    pub source_count: i32,
    pub sources_version: i64,
    pub capacity: Option<i32>,
    pub capacity_version: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
