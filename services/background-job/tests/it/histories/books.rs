//! What stands in the database at one moment.

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, FromQueryResult,
    IsolationLevel, Statement, TransactionTrait,
};
use serde_json::Value;

use crate::stage::Stage;

/// A row of `jobs` with its lease.
#[derive(Debug, Clone, FromQueryResult)]
pub struct Job {
    pub id: String,
    pub order_id: Option<String>,
    pub document_id: String,
    pub user_id: String,
    pub status: String,
    pub sections_done: i64,
    pub percent: i64,
    pub attempt: i64,
    pub crash_count: i64,
    pub counted_pages: i64,
    pub part_pages: i64,
    pub last_seq: i64,
    pub cancel_requested_at: Option<i64>,
    pub refunded_at: Option<i64>,
    pub finished_at: Option<i64>,
    pub epoch: i64,
    pub boot_id: String,
    pub expires_at: i64,
}

#[derive(Debug, Clone, FromQueryResult)]
pub struct Event {
    pub job_id: String,
    pub seq: i64,
    pub kind: String,
    pub data: String,
}

impl Event {
    pub fn data(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

#[derive(Debug, Clone, FromQueryResult)]
pub struct StepRow {
    pub job_id: String,
    pub step_key: String,
    pub status: String,
}

#[derive(Debug, Clone, FromQueryResult)]
#[expect(dead_code, reason = "printed when a promise is broken")]
pub struct Call {
    pub job_id: String,
    pub step_key: String,
    pub epoch: i64,
    pub status: String,
}

#[derive(Debug, Clone, FromQueryResult)]
pub struct Message {
    pub job_id: String,
    pub kind: String,
    pub done_at: Option<i64>,
}

/// Everything at once.
#[derive(Debug)]
pub struct Snapshot {
    pub now: i64,
    pub jobs: Vec<Job>,
    pub events: Vec<Event>,
    pub steps: Vec<StepRow>,
    pub calls: Vec<Call>,
    pub messages: Vec<Message>,
    /// Jobs that have pieces of unfinished text.
    pub chunks: Vec<String>,
}

impl Snapshot {
    pub fn events_of(&self, job: &Job) -> Vec<Event> {
        self.events.iter().filter(|event| event.job_id == job.id).cloned().collect()
    }
}

/// A connection for looking only.
pub struct Books(DatabaseConnection);

impl Books {
    pub async fn open(stage: &Stage) -> Self {
        Self(stage.connect().await)
    }

    pub async fn read(&self) -> Snapshot {
        let postgres = self.0.get_database_backend() == DatabaseBackend::Postgres;
        let level = postgres.then_some(IsolationLevel::RepeatableRead);
        let tx = self.0.begin_with_config(level, None).await.unwrap();
        let now = if postgres {
            "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
        } else {
            "CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER)"
        };
        let jobs = "SELECT job.id, job.order_id, job.document_id, job.user_id, job.status,
              CAST(job.sections_done AS BIGINT) AS sections_done, CAST(job.percent AS BIGINT) AS percent,
              CAST(job.attempt AS BIGINT) AS attempt, CAST(job.crash_count AS BIGINT) AS crash_count,
              CAST(job.counted_pages AS BIGINT) AS counted_pages, CAST(job.part_pages AS BIGINT) AS part_pages,
              job.last_seq, job.cancel_requested_at, job.refunded_at, job.finished_at,
              held.epoch, held.boot_id, held.expires_at
            FROM jobs job JOIN job_leases held ON held.job_id = job.id ORDER BY job.created_at, job.id";
        let snapshot = Snapshot {
            jobs: all(&tx, jobs).await,
            events: all(&tx, "SELECT job_id, seq, kind, data FROM job_events ORDER BY job_id, seq").await,
            steps: all(&tx, "SELECT job_id, step_key, status FROM job_steps").await,
            calls: all(&tx, "SELECT job_id, step_key, epoch, status FROM cost_ledger").await,
            messages: all(&tx, "SELECT job_id, kind, done_at FROM job_outbox").await,
            chunks: all::<Id>(&tx, "SELECT DISTINCT job_id AS id FROM job_chunks")
                .await
                .into_iter()
                .map(|row| row.id)
                .collect(),
            now: all::<Now>(&tx, &format!("SELECT {now} AS now")).await[0].now,
        };
        tx.commit().await.unwrap();
        snapshot
    }
}

#[derive(FromQueryResult)]
struct Id {
    id: String,
}

#[derive(FromQueryResult)]
struct Now {
    now: i64,
}

async fn all<T: FromQueryResult>(tx: &DatabaseTransaction, sql: &str) -> Vec<T> {
    let rows = tx.query_all_raw(Statement::from_string(tx.get_database_backend(), sql)).await.unwrap();
    rows.iter().map(|row| T::from_query_result(row, "").unwrap()).collect()
}
