//! Tables of the payment context.

use sea_orm_migration::prelude::*;

pub struct PaymentMigrator;

#[async_trait::async_trait]
impl MigratorTrait for PaymentMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        Vec::new()
    }

    fn migration_table_name() -> DynIden {
        "payment_migrations".into_iden()
    }
}
