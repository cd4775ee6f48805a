//! What a job writes: its fence, the outline, the sections, the status.

use quire_clock::Timestamp;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QuerySelect};

use super::entity::{document, section};
use super::{SectionRow, Store, TAKEN, WAITING, change};
use crate::status::{Status, names};

impl Store {
    /// Gives the document to a new job. The pages of a delivered PDF stay: it can still be downloaded. False:
    /// it is in another status, or there is no such document.
    pub async fn attach(
        &self,
        id: &str,
        job_id: &str,
        only_in: &[Status],
        now: Timestamp,
    ) -> Result<bool, DbErr> {
        let update = change(id, only_in, now)
            .col_expr(document::Column::Status, Expr::value(Status::Queued.name()))
            .col_expr(document::Column::JobId, Expr::value(job_id))
            .col_expr(document::Column::JobEpoch, Expr::value(0_i64))
            .col_expr(document::Column::Failure, Expr::value(""));
        Ok(update.exec(self.database.reader()).await?.rows_affected == 1)
    }

    /// Keeps a preview, as JSON, unless the document has a job of its own by now.
    pub async fn set_preview(&self, id: &str, preview: &str) -> Result<(), DbErr> {
        let update = document::Entity::update_many()
            .filter(document::Column::Id.eq(id))
            .filter(document::Column::Status.is_in(names(&Status::ORDERABLE)))
            .col_expr(document::Column::Preview, Expr::value(preview));
        update.exec(self.database.reader()).await.map(|_| ())
    }

    pub async fn sections(&self, document_id: &str) -> Result<Vec<SectionRow>, DbErr> {
        let find = section::Entity::find().filter(section::Column::DocumentId.eq(document_id));
        find.all(self.database.reader()).await
    }

    pub async fn written_keys(&self, document_id: &str) -> Result<Vec<String>, DbErr> {
        let find = section::Entity::find().filter(section::Column::DocumentId.eq(document_id));
        let find = find.select_only().column(section::Column::SectionKey);
        find.into_tuple().all(self.database.reader()).await
    }
}

/// Passes the fence: only the document's own job, and never an older epoch than the newest seen. It is the
/// first write of its transaction, so a second writer waits for the row and then sees the newer epoch.
pub async fn pass_fence(
    connection: &impl ConnectionTrait,
    document_id: &str,
    (job_id, epoch): (&str, i64),
    now: Timestamp,
) -> Result<bool, DbErr> {
    let update = document::Entity::update_many()
        .filter(document::Column::Id.eq(document_id))
        .filter(document::Column::JobId.eq(job_id))
        .filter(document::Column::JobEpoch.lte(epoch))
        .col_expr(document::Column::JobEpoch, Expr::value(epoch))
        .col_expr(document::Column::UpdatedAt, Expr::value(now.unix_micros()));
    Ok(update.exec(connection).await?.rows_affected == 1)
}

/// Writes the outline, as JSON, and where its review stands, behind the fence.
pub async fn set_outline(
    connection: &impl ConnectionTrait,
    document_id: &str,
    (outline, review): (&str, &str),
    job_id: &str,
) -> Result<(), DbErr> {
    let update = document::Entity::update_many()
        .filter(document::Column::Id.eq(document_id))
        .col_expr(document::Column::Outline, Expr::value(outline))
        .col_expr(document::Column::OutlineReview, Expr::value(review))
        .col_expr(document::Column::OutlineJobId, Expr::value(job_id));
    update.exec(connection).await.map(|_| ())
}

/// The outline that waited for the customer is the job's from now on, behind the fence.
pub async fn take_outline(connection: &impl ConnectionTrait, document_id: &str) -> Result<(), DbErr> {
    let update = document::Entity::update_many()
        .filter(document::Column::Id.eq(document_id))
        .filter(document::Column::OutlineReview.eq(WAITING))
        .col_expr(document::Column::OutlineReview, Expr::value(TAKEN));
    update.exec(connection).await.map(|_| ())
}

/// Removes the sections whose key is not among `kept`.
pub async fn keep_sections(
    connection: &impl ConnectionTrait,
    document_id: &str,
    kept: Vec<String>,
) -> Result<(), DbErr> {
    let delete = section::Entity::delete_many()
        .filter(section::Column::DocumentId.eq(document_id))
        .filter(section::Column::SectionKey.is_not_in(kept));
    delete.exec(connection).await.map(|_| ())
}

/// Writes a section, in place of one with the same key.
pub async fn put_section(connection: &impl ConnectionTrait, row: SectionRow) -> Result<(), DbErr> {
    let replace = OnConflict::columns([section::Column::DocumentId, section::Column::SectionKey])
        .update_columns([section::Column::Blocks, section::Column::Writer, section::Column::WrittenAt])
        .to_owned();
    let insert = section::Entity::insert(row.into_active_model()).on_conflict(replace);
    insert.exec_without_returning(connection).await.map(|_| ())
}

/// Writes where the job stands, behind the fence.
pub async fn report(
    connection: &impl ConnectionTrait,
    document_id: &str,
    status: Status,
    failure: &str,
) -> Result<(), DbErr> {
    let update = document::Entity::update_many()
        .filter(document::Column::Id.eq(document_id))
        .col_expr(document::Column::Status, Expr::value(status.name()))
        .col_expr(document::Column::Failure, Expr::value(failure));
    update.exec(connection).await.map(|_| ())
}

/// From now on the customer downloads what this job exported, behind the fence.
pub async fn deliver(
    connection: &impl ConnectionTrait,
    document_id: &str,
    job_id: &str,
    counted_pages: i32,
) -> Result<(), DbErr> {
    let update = document::Entity::update_many()
        .filter(document::Column::Id.eq(document_id))
        .col_expr(document::Column::DeliveredJobId, Expr::value(job_id))
        .col_expr(document::Column::CountedPages, Expr::value(counted_pages));
    update.exec(connection).await.map(|_| ())
}
