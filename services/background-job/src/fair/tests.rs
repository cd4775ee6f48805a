//! How SQLite goes about a look at the queue. It has no statistics to choose by, so its plan is the same with ten jobs
//! and with a hundred thousand.

use quire_database::Settings;
use quire_migrations::JobMigrator;
use sea_orm::QueryResult;

use super::*;

async fn plan(sql: String) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let database =
        quire_database::open(&Settings::sqlite(&folder.path().join("job.db"))).await.expect("a database");
    database.migrate::<JobMigrator>().await.expect("tables");
    let explain = Statement::from_string(DatabaseBackend::Sqlite, format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = database.reader().query_all_raw(explain).await.expect("a plan");
    // Whether the index has all columns does not matter.
    let line =
        |row: &QueryResult| row.try_get::<String>("", "detail").expect("a line").replace(" COVERING", "");
    let plan = rows.iter().map(line).collect();
    database.close().await.expect("closed");
    plan
}

/// Where a plan reads all of an index or a table of the jobs.
fn scans(plan: &[String]) -> Vec<&str> {
    plan.iter().map(String::as_str).filter(|line| line.starts_with("SCAN job")).collect()
}

#[tokio::test]
async fn counting_what_a_process_has_reads_no_waiting_job() {
    let plan = plan(at_work_sql()).await;
    // The jobs at work, for each of two counts; they are few.
    assert_eq!(scans(&plan), ["SCAN job USING INDEX jobs_taken"; 2], "{plan:#?}");
}

#[tokio::test]
async fn a_turn_is_found_without_reading_every_open_job() {
    for which in [Which::Suspects, Which::Others] {
        let plan = plan(turns_sql(which)).await;
        // The first user of the index, with a limit of one; and the jobs at work.
        let expected = ["SCAN job USING INDEX jobs_users", "SCAN job USING INDEX jobs_taken"];
        assert_eq!(scans(&plan), expected, "{plan:#?}");
        assert!(
            plan.iter().any(|line| line.starts_with("SEARCH job USING INDEX jobs_waiting (user_id=?)")),
            "{plan:#?}"
        );
    }
}
