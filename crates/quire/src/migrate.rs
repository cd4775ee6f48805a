//! `quire migrate`: brings every database up to date, one after the other.

use quire_database::{Database, DatabaseError, Settings as DatabaseSettings};
use quire_migrations::{AuthMigrator, DocumentMigrator, JobMigrator, PaymentMigrator};
use quire_serve::settings::Settings;

use crate::installation::{self, Context};

/// # Errors
/// A database does not answer, or its history does not fit.
pub async fn run(mut settings: Settings) -> anyhow::Result<()> {
    let data_dir = installation::data_dir(&mut settings);
    let urls =
        Context::ALL.map(|context| (context, installation::database_url(&mut settings, &data_dir, context)));
    settings.finish()?;
    for (context, url) in urls {
        let database = open(context, url).await?;
        match context {
            Context::Auth => database.migrate::<AuthMigrator>().await?,
            Context::Document => database.migrate::<DocumentMigrator>().await?,
            Context::Payment => database.migrate::<PaymentMigrator>().await?,
            Context::Job => database.migrate::<JobMigrator>().await?,
        }
        tracing::info!(context = context.name(), "up to date");
        database.close().await?;
    }
    Ok(())
}

/// Opens a context's database.
pub(crate) async fn open(context: Context, url: String) -> Result<Database, DatabaseError> {
    let settings = DatabaseSettings { url, schema: context.name().to_owned(), max_connections: 2 };
    quire_database::open(&settings).await
}

/// Whether every migration of the context is applied.
pub(crate) async fn check(context: Context, database: &Database) -> Result<(), DatabaseError> {
    match context {
        Context::Auth => database.check::<AuthMigrator>().await,
        Context::Document => database.check::<DocumentMigrator>().await,
        Context::Payment => database.check::<PaymentMigrator>().await,
        Context::Job => database.check::<JobMigrator>().await,
    }
}
