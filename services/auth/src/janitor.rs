//! What is no longer needed, deleted now and then: old audit rows, links, ended sessions, alerts that were given up.

use std::time::Duration;

use async_trait::async_trait;
use quire_clock::{Timestamp, World};
use quire_database::Database;
use sea_orm::DbErr;
use tokio_util::sync::CancellationToken;

use crate::audit;
use crate::change::{Change, Step, Writer};
use crate::error::AuthError;
use crate::store;

const PAUSE: Duration = Duration::from_secs(3600);
/// Links are kept a day longer than they work, for whoever asks why one did not.
const KEEP_LINKS: Duration = Duration::from_secs(86_400);
/// So long after its absolute end does a session still recognise its own tokens.
const KEEP_SESSIONS: Duration = Duration::from_secs(30 * 86_400);
/// So long is an alert kept that could not be sent, for whoever asks why none came.
const KEEP_ALERTS: Duration = Duration::from_secs(30 * 86_400);

pub struct Janitor {
    pub writer: Writer,
    pub database: Database,
    pub world: World,
    /// How long audit rows are kept.
    pub audit_retention: Duration,
}

impl Janitor {
    /// Cleans up once at the start and then every hour, until the shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            if let Err(error) = self.clean_up().await {
                quire_fault::log_internal("auth", &error);
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn clean_up(&self) -> Result<(), AuthError> {
        let now = self.world.now();
        let rows = audit::prune(&self.writer, now.minus(self.audit_retention)).await?;
        let [links, sessions, alerts] = self.writer.commit(Forget { now }).await?;
        tracing::debug!(rows, links, sessions, alerts, "cleaned up");
        // Kept apart from the database, the head shows later whether the end of the log was cut off.
        let head = store::head(self.database.reader()).await?;
        tracing::info!(seq = head.seq, hash = head.hash, "head of the audit log");
        Ok(())
    }
}

struct Forget {
    now: Timestamp,
}

#[async_trait]
impl Change for Forget {
    type Outcome = [u64; 3];

    async fn apply(&self, step: &mut Step<'_>) -> Result<[u64; 3], DbErr> {
        let links = store::forget_links(step.connection, self.now.minus(KEEP_LINKS)).await?;
        let sessions = store::forget_sessions(step.connection, self.now.minus(KEEP_SESSIONS)).await?;
        let alerts = store::forget_alerts(step.connection, self.now.minus(KEEP_ALERTS)).await?;
        Ok([links, sessions, alerts])
    }
}
