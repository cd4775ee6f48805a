//! Files of finished documents.

use sea_orm::sea_query::{Condition, Expr, OnConflict};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QuerySelect};

use super::entity::export;
use super::{ExportRow, Store};

impl Store {
    pub async fn export(
        &self,
        document_id: &str,
        job_id: &str,
        format: &str,
    ) -> Result<Option<ExportRow>, DbErr> {
        find(self.database.reader(), document_id, job_id, format).await
    }

    /// Every key of the file store that a row refers to.
    pub async fn export_keys(&self) -> Result<Vec<String>, DbErr> {
        let find = export::Entity::find().select_only().column(export::Column::ObjectKey);
        find.into_tuple().all(self.database.reader()).await
    }

    pub async fn export_keys_of(&self, document_id: &str) -> Result<Vec<String>, DbErr> {
        let find = export::Entity::find().filter(export::Column::DocumentId.eq(document_id));
        let find = find.select_only().column(export::Column::ObjectKey);
        find.into_tuple().all(self.database.reader()).await
    }
}

/// The export of a job as a transaction sees it.
pub async fn find(
    connection: &impl ConnectionTrait,
    document_id: &str,
    job_id: &str,
    format: &str,
) -> Result<Option<ExportRow>, DbErr> {
    let key = (document_id.to_owned(), format.to_owned(), job_id.to_owned());
    export::Entity::find_by_id(key).one(connection).await
}

/// Writes an export, in place of one of the same job and format.
pub async fn put(connection: &impl ConnectionTrait, row: ExportRow) -> Result<(), DbErr> {
    use export::Column;
    let replace = OnConflict::columns([Column::DocumentId, Column::Format, Column::JobId])
        .update_columns([
            Column::FileName,
            Column::MediaType,
            Column::SizeBytes,
            Column::Sha256,
            Column::ObjectKey,
            Column::CreatedAt,
        ])
        .to_owned();
    let insert = export::Entity::insert(row.into_active_model()).on_conflict(replace);
    insert.exec_without_returning(connection).await.map(|_| ())
}

/// Removes what a job exported, and answers the keys of the files.
pub async fn remove_of_job(
    connection: &impl ConnectionTrait,
    document_id: &str,
    job_id: &str,
) -> Result<Vec<String>, DbErr> {
    remove(connection, document_id, export::Column::JobId.eq(job_id)).await
}

/// Removes what all other jobs exported, and answers the keys of the files.
pub async fn remove_of_other_jobs(
    connection: &impl ConnectionTrait,
    document_id: &str,
    job_id: &str,
) -> Result<Vec<String>, DbErr> {
    remove(connection, document_id, export::Column::JobId.ne(job_id)).await
}

async fn remove(
    connection: &impl ConnectionTrait,
    document_id: &str,
    of_jobs: Expr,
) -> Result<Vec<String>, DbErr> {
    let stale = Condition::all().add(export::Column::DocumentId.eq(document_id)).add(of_jobs);
    let find = export::Entity::find().filter(stale.clone());
    let keys = find.select_only().column(export::Column::ObjectKey).into_tuple().all(connection).await?;
    export::Entity::delete_many().filter(stale).exec(connection).await?;
    Ok(keys)
}
