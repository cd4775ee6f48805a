//! A connection to Redis that nothing waits for: when it fails, callers go on without, and it is made anew in
//! the background.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::Instrument;

/// Calls usually wait no longer for Redis.
pub(crate) const ANSWER: Duration = Duration::from_millis(50);
const CONNECT: Duration = Duration::from_secs(2);
/// Answers in a row that may be late before the connection is given up.
const MAX_LATE: u32 = 3;
/// Pause between two attempts to connect.
const RETRY: Duration = Duration::from_secs(1);

/// The text is not a Redis URL. It is not shown, as it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("not a Redis address: write redis://host:6379 or rediss://user:password@host:6379")]
pub struct LinkError;

pub(crate) struct Link {
    client: Client,
    /// What is limited or remembered over it, for the log.
    purpose: &'static str,
    answer: Duration,
    retry: Duration,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Whether Redis answers; for those that want to wait for a change.
    up: watch::Sender<bool>,
}

enum State {
    Up { connection: MultiplexedConnection, late: u32 },
    Down { next_attempt: Instant },
    Connecting,
}

impl Link {
    /// Tries once to connect, for at most two seconds. No call waits longer than `answer`.
    pub(crate) async fn connect(client: Client, purpose: &'static str, answer: Duration) -> Self {
        let state = Mutex::new(State::Connecting);
        let shared = Arc::new(Shared { state, up: watch::Sender::new(false) });
        let link = Self { client, purpose, answer, retry: RETRY, shared };
        match open(&link.client, CONNECT).await {
            Some(connection) => link.shared.set_up(connection),
            None => {
                tracing::warn!(purpose, "redis does not answer: going on without it");
                link.shared.set_down(RETRY);
            }
        }
        link
    }

    /// Asks Redis. `None` at once while it is known not to answer, or if the answer takes too long.
    pub(crate) async fn ask<T, F>(&self, ask: impl FnOnce(MultiplexedConnection) -> F) -> Option<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let connection = self.connection()?;
        let span = tracing::debug_span!("redis", purpose = self.purpose);
        match timeout(self.answer, ask(connection)).instrument(span).await {
            Ok(Ok(answer)) => {
                self.shared.answered();
                Some(answer)
            }
            Ok(Err(error)) => {
                let kind = error.kind();
                self.lost(MAX_LATE, &format!("{kind:?}"));
                None
            }
            Err(_) => {
                self.lost(1, "late answer");
                None
            }
        }
    }

    /// Whether the next call will be asked of Redis.
    pub(crate) fn is_up(&self) -> bool {
        *self.shared.up.borrow()
    }

    fn connection(&self) -> Option<MultiplexedConnection> {
        let mut state = self.shared.state();
        match &*state {
            State::Up { connection, .. } => Some(connection.clone()),
            State::Connecting => None,
            State::Down { next_attempt } => {
                if *next_attempt <= Instant::now() {
                    *state = State::Connecting;
                    self.reconnect();
                }
                None
            }
        }
    }

    /// Off the path of any call, so that a slow handshake delays nobody.
    fn reconnect(&self) {
        let (client, shared) = (self.client.clone(), self.shared.clone());
        let (purpose, retry, answer) = (self.purpose, self.retry, self.answer);
        tokio::spawn(async move {
            match open(&client, answer).await {
                Some(connection) => {
                    tracing::info!(purpose, "redis answers again");
                    shared.set_up(connection);
                }
                None => shared.set_down(retry),
            }
        });
    }

    /// Counts a failure; enough of them give the connection up.
    fn lost(&self, weight: u32, cause: &str) {
        let mut state = self.shared.state();
        let State::Up { late, .. } = &mut *state else {
            return;
        };
        *late += weight;
        if *late >= MAX_LATE {
            tracing::warn!(purpose = self.purpose, cause, "redis does not answer: going on without it");
            *state = State::Down { next_attempt: Instant::now() + self.retry };
            self.shared.up.send_replace(false);
        }
    }

    #[cfg(test)]
    pub(crate) fn with_times(&mut self, answer: Duration, retry: Duration) {
        (self.answer, self.retry) = (answer, retry);
    }

    #[cfg(test)]
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.shared.up.subscribe()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_up(&self, connection: MultiplexedConnection) {
        *self.state() = State::Up { connection, late: 0 };
        self.up.send_replace(true);
    }

    fn set_down(&self, retry: Duration) {
        *self.state() = State::Down { next_attempt: Instant::now() + retry };
        self.up.send_replace(false);
    }

    fn answered(&self) {
        if let State::Up { late, .. } = &mut *self.state() {
            *late = 0;
        }
    }
}

/// A connection that has answered once, within `answer`: one that was left because it is slow must not come back
/// only to make callers wait again.
async fn open(client: &Client, answer: Duration) -> Option<MultiplexedConnection> {
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = timeout(CONNECT, connecting).await.ok()?.ok()?;
    let greeting = redis::cmd("PING");
    timeout(answer, greeting.query_async::<()>(&mut connection)).await.ok()?.ok()?;
    Some(connection)
}
