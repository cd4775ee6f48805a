//! The tables of this context: conditional updates, and the rows they touch.

pub mod entity;
pub mod exports;
pub mod sources;
pub mod writing;

use quire_clock::Timestamp;
use quire_database::{Database, WriteTransaction};
use sea_orm::sea_query::{Condition, Expr};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
    UpdateMany,
};

use crate::id::is_id;
use crate::page_token::{Cursor, Page};
use crate::status::{Status, names};
use entity::document;

pub use entity::document::Model as DocumentRow;
pub use entity::export::Model as ExportRow;
pub use entity::section::Model as SectionRow;
pub use entity::source::Model as SourceRow;

/// An outline that the customer has to approve.
pub const WAITING: &str = "waiting";
/// One that the job has taken since.
pub const TAKEN: &str = "taken";

/// The store of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    database: Database,
}

/// What an order was checked against: it may only proceed if none of this has changed meanwhile.
#[derive(Debug, Clone)]
pub struct Checked<'a> {
    pub id: &'a str,
    pub target_pages: i32,
    pub writer: &'a str,
    pub sources_version: i64,
}

impl Store {
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    pub async fn begin_write(&self) -> Result<WriteTransaction, DbErr> {
        self.database.begin_write().await
    }

    pub async fn insert_document(&self, row: DocumentRow) -> Result<(), DbErr> {
        let insert = document::Entity::insert(row.into_active_model());
        insert.exec_without_returning(self.database.reader()).await.map(|_| ())
    }

    pub async fn document(&self, id: &str) -> Result<Option<DocumentRow>, DbErr> {
        if !is_id(id) {
            return Ok(None);
        }
        find(self.database.reader(), id).await
    }

    /// The document, if it is that user's.
    pub async fn document_of(&self, user_id: &str, id: &str) -> Result<Option<DocumentRow>, DbErr> {
        if !is_id(id) {
            return Ok(None);
        }
        let find = document::Entity::find_by_id(id).filter(document::Column::UserId.eq(user_id));
        find.one(self.database.reader()).await
    }

    /// Newest first; one row more than the page's size if there is more.
    pub async fn documents_of(&self, user_id: &str, page: &Page) -> Result<Vec<DocumentRow>, DbErr> {
        let mut find = document::Entity::find().filter(document::Column::UserId.eq(user_id));
        if let Some(Cursor { created_at, id }) = &page.after {
            let older = document::Column::CreatedAt.lt(*created_at);
            let same = Condition::all()
                .add(document::Column::CreatedAt.eq(*created_at))
                .add(document::Column::Id.lt(id.as_str()));
            find = find.filter(Condition::any().add(older).add(same));
        }
        find.order_by_desc(document::Column::CreatedAt)
            .order_by_desc(document::Column::Id)
            .limit(page.size + 1)
            .all(self.database.reader())
            .await
    }

    /// Writes the description anew. False: not a draft, or changed since `updated_at`.
    pub async fn redescribe(
        &self,
        row: &DocumentRow,
        updated_at: i64,
        now: Timestamp,
    ) -> Result<bool, DbErr> {
        let update = change(&row.id, &[Status::Draft], now)
            .filter(document::Column::UpdatedAt.eq(updated_at))
            .filter(document::Column::UserId.eq(row.user_id.as_str()))
            .col_expr(document::Column::Title, Expr::value(row.title.as_str()))
            .col_expr(document::Column::Topic, Expr::value(row.topic.as_str()))
            .col_expr(document::Column::Language, Expr::value(row.language.as_str()))
            .col_expr(document::Column::TargetPages, Expr::value(row.target_pages))
            .col_expr(document::Column::Kind, Expr::value(row.kind.as_str()))
            .col_expr(document::Column::Writer, Expr::value(row.writer.as_str()))
            .col_expr(document::Column::ReviewOutline, Expr::value(row.review_outline))
            .col_expr(document::Column::FallbackWriters, Expr::value(row.fallback_writers.as_str()));
        Ok(update.exec(self.database.reader()).await?.rows_affected == 1)
    }

    /// Sets the chapters that the customer wishes, as JSON. False: not that user's, or not a draft.
    pub async fn wish_chapters(
        &self,
        user_id: &str,
        id: &str,
        chapters: &str,
        now: Timestamp,
    ) -> Result<bool, DbErr> {
        let update = change(id, &[Status::Draft], now)
            .filter(document::Column::UserId.eq(user_id))
            .col_expr(document::Column::WishedChapters, Expr::value(chapters));
        Ok(update.exec(self.database.reader()).await?.rows_affected == 1)
    }

    /// Puts an edited outline, as JSON, in place of the proposed one. False: not that user's, or it waits for nobody.
    pub async fn edit_outline(
        &self,
        user_id: &str,
        id: &str,
        outline: &str,
        now: Timestamp,
    ) -> Result<bool, DbErr> {
        let update = change(id, &Status::ACTIVE, now)
            .filter(document::Column::UserId.eq(user_id))
            .filter(document::Column::OutlineReview.eq(WAITING))
            .col_expr(document::Column::Outline, Expr::value(outline));
        Ok(update.exec(self.database.reader()).await?.rows_affected == 1)
    }

    /// Removes a document and all its rows, unless it is held. False: nothing was removed.
    pub async fn delete_document(&self, user_id: &str, id: &str) -> Result<bool, DbErr> {
        let delete = document::Entity::delete_many()
            .filter(document::Column::Id.eq(id))
            .filter(document::Column::UserId.eq(user_id))
            .filter(document::Column::Status.is_not_in(names(&Status::HELD)));
        Ok(delete.exec(self.database.reader()).await?.rows_affected == 1)
    }

    /// Moves a checked document to payment_pending. False: something it was checked against has changed.
    pub async fn await_payment(&self, checked: &Checked<'_>, now: Timestamp) -> Result<bool, DbErr> {
        let update = change(checked.id, &Status::ORDERABLE, now)
            .filter(document::Column::TargetPages.eq(checked.target_pages))
            .filter(document::Column::Writer.eq(checked.writer))
            .filter(document::Column::SourcesVersion.eq(checked.sources_version))
            .col_expr(document::Column::Status, Expr::value(Status::PaymentPending.name()));
        Ok(update.exec(self.database.reader()).await?.rows_affected == 1)
    }

    /// Moves a document from payment_pending back to draft; leaves every other status alone.
    pub async fn release(&self, id: &str, now: Timestamp) -> Result<(), DbErr> {
        let update = change(id, &[Status::PaymentPending], now)
            .col_expr(document::Column::Status, Expr::value(Status::Draft.name()));
        update.exec(self.database.reader()).await.map(|_| ())
    }

    /// Keeps a computed capacity for the sources it was computed from.
    pub async fn keep_capacity(&self, id: &str, sources_version: i64, pages: i32) -> Result<(), DbErr> {
        let update = document::Entity::update_many()
            .filter(document::Column::Id.eq(id))
            .filter(document::Column::SourcesVersion.eq(sources_version))
            .col_expr(document::Column::Capacity, Expr::value(pages))
            .col_expr(document::Column::CapacityVersion, Expr::value(sources_version));
        update.exec(self.database.reader()).await.map(|_| ())
    }
}

/// The document as a transaction sees it.
pub async fn find(connection: &impl ConnectionTrait, id: &str) -> Result<Option<DocumentRow>, DbErr> {
    document::Entity::find_by_id(id).one(connection).await
}

/// An update of one document that happens only in one of these statuses.
fn change(id: &str, only_in: &[Status], now: Timestamp) -> UpdateMany<document::Entity> {
    document::Entity::update_many()
        .filter(document::Column::Id.eq(id))
        .filter(document::Column::Status.is_in(names(only_in)))
        .col_expr(document::Column::UpdatedAt, Expr::value(now.unix_micros()))
}
