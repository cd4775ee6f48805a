//! Sources and the pages that were read from them.

use quire_clock::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect, UpdateMany,
};

use super::entity::{document, source, source_page};
use super::{SourceRow, Store, change};
use crate::id::is_id;
use crate::status::Status;

/// Rows of text in one statement: both databases limit the number of its parameters.
const PAGES_AT_ONCE: usize = 100;

impl Store {
    /// In order of upload.
    pub async fn sources(&self, document_id: &str) -> Result<Vec<SourceRow>, DbErr> {
        let find = source::Entity::find().filter(source::Column::DocumentId.eq(document_id));
        let find = find.order_by_asc(source::Column::CreatedAt).order_by_asc(source::Column::Id);
        find.all(self.database.reader()).await
    }

    /// The source of a document with that content.
    pub async fn source_with(&self, document_id: &str, sha256: &str) -> Result<Option<SourceRow>, DbErr> {
        let find = source::Entity::find()
            .filter(source::Column::DocumentId.eq(document_id))
            .filter(source::Column::Sha256.eq(sha256));
        find.one(self.database.reader()).await
    }

    pub async fn source(&self, document_id: &str, id: &str) -> Result<Option<SourceRow>, DbErr> {
        if !is_id(id) {
            return Ok(None);
        }
        let find = source::Entity::find_by_id(id).filter(source::Column::DocumentId.eq(document_id));
        find.one(self.database.reader()).await
    }

    /// The text of one source from page `after + 1` on, at most `limit` pages.
    pub async fn pages(&self, source_id: &str, after: i32, limit: u64) -> Result<Vec<(i32, String)>, DbErr> {
        let find = source_page::Entity::find()
            .filter(source_page::Column::SourceId.eq(source_id))
            .filter(source_page::Column::Page.gt(after))
            .order_by_asc(source_page::Column::Page)
            .limit(limit);
        let rows = find.all(self.database.reader()).await?;
        Ok(rows.into_iter().map(|row| (row.page, row.text)).collect())
    }

    /// Every key of the file store that a row refers to.
    pub async fn source_keys(&self) -> Result<Vec<String>, DbErr> {
        let find = source::Entity::find().select_only().column(source::Column::ObjectKey);
        find.into_tuple().all(self.database.reader()).await
    }
}

/// Counts one source more, if the draft is that user's and has room. The first write of its transaction.
pub async fn take_place(
    connection: &impl ConnectionTrait,
    (user_id, document_id): (&str, &str),
    limit: i32,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let update = recount(document_id, 1, now)
        .filter(document::Column::UserId.eq(user_id))
        .filter(document::Column::SourceCount.lt(limit));
    Ok(update.exec(connection).await?.rows_affected == 1)
}

/// Counts one source less, if the draft is that user's. The first write of its transaction.
pub async fn give_place(
    connection: &impl ConnectionTrait,
    (user_id, document_id): (&str, &str),
    now: Timestamp,
) -> Result<bool, DbErr> {
    let update = recount(document_id, -1, now).filter(document::Column::UserId.eq(user_id));
    Ok(update.exec(connection).await?.rows_affected == 1)
}

/// The characters of all sources of a document together.
pub async fn characters(connection: &impl ConnectionTrait, document_id: &str) -> Result<i64, DbErr> {
    // Summed here: the sum of a bigint has another type in each database, and the sources are few.
    let find = source::Entity::find().filter(source::Column::DocumentId.eq(document_id));
    let find = find.select_only().column(source::Column::Characters);
    let counts: Vec<i64> = find.into_tuple().all(connection).await?;
    Ok(counts.into_iter().fold(0, i64::saturating_add))
}

/// Writes a source and its pages.
pub async fn insert(
    connection: &impl ConnectionTrait,
    row: SourceRow,
    pages: &[String],
) -> Result<(), DbErr> {
    let id = row.id.clone();
    source::Entity::insert(row.into_active_model()).exec_without_returning(connection).await?;
    let numbered: Vec<(i32, &String)> = (1..).zip(pages).collect();
    for chunk in numbered.chunks(PAGES_AT_ONCE) {
        let rows = chunk.iter().map(|(page, text)| source_page::ActiveModel {
            source_id: ActiveValue::Set(id.clone()),
            page: ActiveValue::Set(*page),
            text: ActiveValue::Set((*text).clone()),
        });
        source_page::Entity::insert_many(rows).exec_without_returning(connection).await?;
    }
    Ok(())
}

/// Removes a source and its pages. False: there is none.
pub async fn delete(connection: &impl ConnectionTrait, document_id: &str, id: &str) -> Result<bool, DbErr> {
    let delete = source::Entity::delete_by_id(id).filter(source::Column::DocumentId.eq(document_id));
    Ok(delete.exec(connection).await?.rows_affected == 1)
}

fn recount(document_id: &str, by: i32, now: Timestamp) -> UpdateMany<document::Entity> {
    use document::Column;
    change(document_id, &[Status::Draft], now)
        .col_expr(Column::SourceCount, ExprTrait::add(Expr::col(Column::SourceCount), by))
        .col_expr(Column::SourcesVersion, ExprTrait::add(Expr::col(Column::SourcesVersion), 1))
}
