//! Tables of the auth context.

mod m0001_sessions;
mod m0002_defence;

use sea_orm_migration::prelude::*;

pub struct AuthMigrator;

#[async_trait::async_trait]
impl MigratorTrait for AuthMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_sessions::Sessions), Box::new(m0002_defence::Defence)]
    }

    fn migration_table_name() -> DynIden {
        "auth_migrations".into_iden()
    }
}
