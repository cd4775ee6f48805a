//! Several processes that bring the same new databases up to date at once.

use std::path::Path;

use quire_database::{DatabaseError, Settings};
use quire_migrations::JobMigrator;
use quire_testkit::{Backend, Process};
use sea_orm_migration::MigratorTrait;

use crate::system;
use crate::wait::eventually;

const PROCESSES: usize = 6;
const ROUNDS: usize = 6;

quire_testkit::on_both_databases!(
    all_of_several_migrations_at_once_succeed,
    each_migration_of_the_jobs_can_be_taken_back,
);

async fn all_of_several_migrations_at_once_succeed(backend: Backend) {
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir().unwrap();
        let database = match backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some(backend.create().await),
        };
        let start = |number| migrate(folder.path(), database.as_ref().map(|database| database.url()), number);
        let mut processes: Vec<Process> = (0..PROCESSES).map(start).collect();
        for process in &mut processes {
            let status = eventually("a migration ends", || std::future::ready(process.ended())).await;
            assert!(status.success(), "{}", process.said());
        }
    }
}

async fn each_migration_of_the_jobs_can_be_taken_back(backend: Backend) {
    let made = backend.create().await;
    let settings = Settings { url: made.url().to_owned(), schema: "job".to_owned(), max_connections: 2 };
    let database = quire_database::open(&settings).await.unwrap();
    database.migrate::<JobMigrator>().await.unwrap();
    for steps in 1..=JobMigrator::migrations().len() {
        let taken_back = u32::try_from(steps).unwrap();
        JobMigrator::down(database.reader(), Some(taken_back)).await.unwrap();
        let missing = database.check::<JobMigrator>().await.unwrap_err();
        assert!(matches!(missing, DatabaseError::NotMigrated { count } if count == steps), "{missing}");
        database.migrate::<JobMigrator>().await.unwrap();
        database.check::<JobMigrator>().await.unwrap();
    }
    database.close().await.unwrap();
}

fn migrate(folder: &Path, database: Option<&str>, number: usize) -> Process {
    let data = folder.join("data").display().to_string();
    let mut settings = vec![("QUIRE_DATA_DIR", data.as_str())];
    settings.extend(database.map(|url| ("DATABASE_URL", url)));
    Process::start(&system::program(), &["migrate"], settings, &folder.join(format!("{number}.log")))
}
