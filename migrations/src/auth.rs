//! Tables of the auth context.

mod m0001_sessions;
mod m0002_defence;
mod m0003_alerts;

use sea_orm_migration::prelude::*;

pub struct AuthMigrator;

#[async_trait::async_trait]
impl MigratorTrait for AuthMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_sessions::SESSIONS),
            Box::new(m0002_defence::Defence),
            Box::new(m0003_alerts::ALERTS),
        ]
    }

    fn migration_table_name() -> DynIden {
        "auth_migrations".into_iden()
    }
}
