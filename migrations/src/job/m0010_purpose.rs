//! What a job is for is its purpose: `kind` is what an event is.

use sea_orm_migration::prelude::*;

use crate::run;

pub(super) struct Purpose;

impl MigrationName for Purpose {
    fn name(&self) -> &str {
        "job_0010_purpose"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Purpose {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &["ALTER TABLE jobs RENAME COLUMN kind TO purpose"]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, &["ALTER TABLE jobs RENAME COLUMN purpose TO kind"]).await
    }
}
