//! Migrations in SQL that PostgreSQL and SQLite read alike, which are nearly all.

use sea_orm_migration::prelude::*;

use crate::run;

/// Statements, one after the other, in one transaction. In all of them, times are microseconds since the Unix epoch.
pub(crate) struct Plain {
    pub(crate) name: &'static str,
    pub(crate) up: &'static [&'static str],
    pub(crate) down: &'static [&'static str],
}

impl MigrationName for Plain {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Plain {
    /// On SQLite too: a process killed halfway must leave nothing behind that the next start trips over.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, self.up).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, self.down).await
    }
}
