//! Tables of the document context.

use sea_orm_migration::prelude::*;

pub struct DocumentMigrator;

#[async_trait::async_trait]
impl MigratorTrait for DocumentMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        Vec::new()
    }

    fn migration_table_name() -> DynIden {
        "document_migrations".into_iden()
    }
}
