//! Tables of the payment context.

mod m0001_orders;
mod m0002_books;

use sea_orm_migration::prelude::*;

pub struct PaymentMigrator;

#[async_trait::async_trait]
impl MigratorTrait for PaymentMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_orders::ORDERS), Box::new(m0002_books::Books)]
    }

    fn migration_table_name() -> DynIden {
        "payment_migrations".into_iden()
    }
}
