//! Who is told that there is something to do: at once inside this process, and through PostgreSQL's NOTIFY in the
//! others. Everyone also polls: a wake-up is a shortcut that may get lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quire_database::Database;
use sea_orm::sqlx;
use sea_orm::sqlx::postgres::PgListener;
use sea_orm::{ConnectionTrait, DbErr, Statement};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// How many job ids a slow listener may fall behind before it is told to look by itself.
const CAPACITY: usize = 256;
/// Jobs in one message: PostgreSQL takes 8,000 bytes.
const TOLD_AT_ONCE: usize = 100;
/// The channel of this context. Each message is the boot id of its sender and the ids of jobs.
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
    /// What the other processes shall be told.
    pub others: broadcast::Sender<Arc<str>>,
}

impl Default for Wakes {
    fn default() -> Self {
        Self {
            queue: Arc::default(),
            outbox: Arc::default(),
            events: broadcast::channel(CAPACITY).0,
            holders: broadcast::channel(CAPACITY).0,
            others: broadcast::channel(CAPACITY).0,
        }
    }
}

impl Wakes {
    /// Wakes whoever may care about a job, here and in the other processes.
    pub fn call(&self, job_id: &str) {
        self.look_at(job_id);
        // An error means that there are no others.
        let _ = self.others.send(Arc::from(job_id));
    }

    /// Wakes whoever may care about a job in this process.
    fn look_at(&self, job_id: &str) {
        let id: Arc<str> = Arc::from(job_id);
        // An error means that nobody runs or watches anything here.
        let _ = self.holders.send(id.clone());
        let _ = self.events.send(id);
        self.queue.notify_waiters();
    }
}

/// Tells the other processes what is new, until the shutdown and then what is left. In transactions of their own, many
/// jobs together: one that notifies holds a lock of the whole server while it commits, and the writing of jobs must not
/// queue up there.
pub async fn tell(
    database: Database,
    boot_id: Arc<str>,
    mut news: broadcast::Receiver<Arc<str>>,
    shutdown: CancellationToken,
) {
    loop {
        let first = tokio::select! {
            first = news.recv() => first,
            () = shutdown.cancelled() => match news.try_recv() {
                Ok(id) => Ok(id),
                Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            },
        };
        let first = match first {
            Ok(first) => first,
            // They are polled for.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let mut ids = BTreeSet::from([first]);
        while ids.len() < TOLD_AT_ONCE
            && let Ok(id) = news.try_recv()
        {
            ids.insert(id);
        }
        if let Err(error) = notify(&database, &boot_id, &ids).await {
            tracing::warn!(%error, "other processes are not told of new work; they poll");
        }
    }
}

async fn notify(database: &Database, boot_id: &str, ids: &BTreeSet<Arc<str>>) -> Result<(), DbErr> {
    let connection = database.reader();
    let mut payload = boot_id.to_owned();
    for id in ids {
        payload.push(' ');
        payload.push_str(id);
    }
    let values = [CHANNEL.into(), payload.into()];
    let statement = "SELECT pg_notify($1, $2)";
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), statement, values);
    connection.execute_raw(statement).await.map(|_| ())
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
            let mut words = told.payload().split(' ');
            if words.next() != Some(&*store.boot_id) {
                words.for_each(|job_id| store.wakes.look_at(job_id));
            }
        }
        // The connection was lost, and is there again.
    }
}
