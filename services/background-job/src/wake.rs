//! Who is told that there is something to do: at once inside this process, and through PostgreSQL's NOTIFY in the
//! others. Everyone also polls: a wake-up is a shortcut that may get lost.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx;
use sea_orm::sqlx::postgres::PgListener;
use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, Statement};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// How many job ids a slow listener may fall behind before it is told to look by itself.
const CAPACITY: usize = 256;
/// The channel of this context. Each message is the boot id of its sender and the job's id.
const CHANNEL: &str = "quire_job";
/// Before the next try to listen, after one that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// The wake-ups of one process.
#[derive(Clone)]
pub struct Wakes {
    /// A job may be claimed.
    pub queue: Arc<Notify>,
    /// A message waits in the outbox.
    pub outbox: Arc<Notify>,
    /// A job has new events.
    pub events: broadcast::Sender<Arc<str>>,
    /// Whoever has a job shall look what is wanted of it.
    pub holders: broadcast::Sender<Arc<str>>,
}

impl Default for Wakes {
    fn default() -> Self {
        Self {
            queue: Arc::default(),
            outbox: Arc::default(),
            events: broadcast::channel(CAPACITY).0,
            holders: broadcast::channel(CAPACITY).0,
        }
    }
}

impl Wakes {
    /// Wakes whoever may care about a job.
    pub fn look_at(&self, job_id: &str) {
        let id: Arc<str> = Arc::from(job_id);
        // An error means that nobody runs or watches anything here.
        let _ = self.holders.send(id.clone());
        let _ = self.events.send(id);
        self.queue.notify_waiters();
    }
}

/// Tells the other processes about a job, once the transaction is committed. SQLite has no others worth telling.
///
/// # Errors
/// The database is gone.
pub async fn tell_others(tx: &DatabaseTransaction, boot_id: &str, job_id: &str) -> Result<(), DbErr> {
    let backend = tx.get_database_backend();
    if backend == DatabaseBackend::Postgres {
        let values = [CHANNEL.into(), format!("{boot_id} {job_id}").into()];
        tx.execute_raw(Statement::from_sql_and_values(backend, "SELECT pg_notify($1, $2)", values)).await?;
    }
    Ok(())
}

/// Listens to the other processes until the shutdown, on a connection of its own: one of the pool's would be missing
/// there.
pub async fn listen(url: String, store: Store, shutdown: CancellationToken) {
    loop {
        let heard = tokio::select! {
            heard = hear(&url, &store) => heard,
            () = shutdown.cancelled() => return,
        };
        if let Err(error) = heard {
            tracing::warn!(%error, "no wake-ups of other processes; polling goes on");
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn hear(url: &str, store: &Store) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect(url).await?;
    listener.listen(CHANNEL).await?;
    loop {
        // Also at the start: what was told before nobody listened.
        store.wakes.queue.notify_waiters();
        while let Some(told) = listener.try_recv().await? {
            match told.payload().split_once(' ') {
                Some((boot_id, job_id)) if boot_id != &*store.boot_id => store.wakes.look_at(job_id),
                _ => {}
            }
        }
        // The connection was lost, and is there again.
    }
}
