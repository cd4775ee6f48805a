//! Sends alerts, at least once: a mail may go out a second time, under the same name, if the process dies between
//! sending and noting it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use lettre::message::Mailbox;
use quire_clock::{Timestamp, World};
use quire_database::Database;
use quire_identity::Origin;
use sea_orm::DbErr;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::audit::{self, Attempt};
use crate::change::{Change, Step, Writer};
use crate::error::AuthError;
use crate::mail::{Letter, MailError, Mailer};
use crate::metrics::{AuthMetrics, MailKind, MailOutcome};
use crate::store::{self, alert};

/// Alerts claimed and sent together.
const TOGETHER: u64 = 8;
/// A claimed alert is this relay's for so long. Longer than a mail may take.
const LEASE: Duration = Duration::from_secs(60);
/// For alerts that wait for another try, or that a process which died has left.
const LOOK: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// With waits of half an hour on average, some two days.
const MOST_ATTEMPTS: i64 = 100;
/// After the shutdown, alerts under way have this long to leave.
const DRAIN: Duration = Duration::from_secs(5);

pub struct Relay {
    pub database: Database,
    pub world: World,
    pub writer: Writer,
    pub mailer: Arc<dyn Mailer>,
    pub from: Mailbox,
    pub metrics: AuthMetrics,
}

impl Relay {
    /// Sends until the shutdown, at once when it is woken, and a last time after it.
    pub async fn run(self, woken: Arc<Notify>, shutdown: CancellationToken) {
        let drained = async {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        let mut drained = std::pin::pin!(drained);
        let mut failing = false;
        loop {
            let outcome = tokio::select! {
                outcome = self.round() => outcome,
                () = &mut drained => return,
            };
            match outcome {
                Ok(true) => continue,
                Ok(false) => failing = false,
                Err(error) if !failing => {
                    quire_fault::log_internal("auth", &error);
                    failing = true;
                }
                Err(_) => {}
            }
            if shutdown.is_cancelled() {
                return;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = woken.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Sends what is due. `true` if there may be more.
    async fn round(&self) -> Result<bool, AuthError> {
        // Most of the time nothing is due, and then nothing needs to be written to find out.
        if !store::is_alert_due(self.database.reader(), self.world.now()).await? {
            return Ok(false);
        }
        let claimed = self.writer.commit(Claim).await?;
        let full = claimed.len() as u64 == TOGETHER;
        let outcomes = join_all(claimed.into_iter().map(|alert| self.deliver(alert))).await;
        outcomes.into_iter().collect::<Result<(), AuthError>>()?;
        Ok(full)
    }

    async fn deliver(&self, alert: alert::Model) -> Result<(), AuthError> {
        let Err(error) = self.send(&alert).await? else {
            self.world.reach("auth.alert.sent");
            self.metrics.mail(MailKind::Alert, MailOutcome::Sent);
            return self.writer.commit(Sent { alert }).await;
        };
        let (id, attempts) = (&alert.id, alert.attempts);
        let wait = wait(&self.world, attempts, &error);
        if wait.is_some() {
            tracing::warn!(id, attempts, %error, "an alert will be tried again");
        } else {
            tracing::error!(id, attempts, %error, "an alert was given up");
            self.metrics.mail(MailKind::Alert, MailOutcome::Failed);
        }
        self.writer.commit(Failed { alert, error: error.what, wait }).await
    }

    /// The outer failure is the database's, the inner one the mail's.
    async fn send(&self, alert: &alert::Model) -> Result<Result<(), MailError>, AuthError> {
        let reader = self.database.reader();
        let user = store::user_by_id(reader, &alert.user_id).await?;
        let session = store::session_by_id(reader, &alert.session_id).await?;
        let letter = match (&user, &session) {
            (Some(user), Some(session)) => Letter::reuse(alert, user, session),
            _ => None,
        };
        let Some(letter) = letter else {
            let what = "its owner or its session is no longer known".to_owned();
            return Ok(Err(MailError { what, retryable: false }));
        };
        Ok(match letter.compose(&self.from) {
            Ok(mail) => self.mailer.send(&mail).await,
            Err(error) => Err(error),
        })
    }
}

/// How long to wait before the next try; `None`: no more.
fn wait(world: &World, attempts: i64, error: &MailError) -> Option<Duration> {
    if !error.retryable || attempts >= MOST_ATTEMPTS {
        return None;
    }
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or_default().min(20);
    let ceiling = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    // At random up to the ceiling ("full jitter"): alerts that failed together do not come back together.
    let share = f64::from(u32::from_le_bytes(world.bytes())) / f64::from(u32::MAX);
    Some(ceiling.mul_f64(share))
}

struct Claim;

#[async_trait]
impl Change for Claim {
    type Outcome = Vec<alert::Model>;

    async fn apply(&self, step: &mut Step<'_>) -> Result<Vec<alert::Model>, DbErr> {
        store::claim_alerts(step.connection, TOGETHER, step.now, step.now.plus(LEASE)).await
    }
}

struct Sent {
    alert: alert::Model,
}

#[async_trait]
impl Change for Sent {
    type Outcome = ();

    async fn apply(&self, step: &mut Step<'_>) -> Result<(), DbErr> {
        if store::finish_alert(step.connection, &self.alert).await? {
            record(step, &self.alert, "");
        }
        Ok(())
    }
}

struct Failed {
    alert: alert::Model,
    error: String,
    /// `None`: it is given up.
    wait: Option<Duration>,
}

#[async_trait]
impl Change for Failed {
    type Outcome = ();

    async fn apply(&self, step: &mut Step<'_>) -> Result<(), DbErr> {
        let next_at: Option<Timestamp> = self.wait.map(|wait| step.now.plus(wait));
        let held =
            store::postpone_alert(step.connection, &self.alert, &self.error, next_at, step.now).await?;
        if held && next_at.is_none() {
            record(step, &self.alert, "MAIL_FAILED");
        }
        Ok(())
    }
}

fn record(step: &mut Step<'_>, alert: &alert::Model, reason: &str) {
    let origin = Origin {
        client_address: alert.client_address.clone(),
        user_agent: alert.user_agent.clone(),
        request_id: alert.request_id.clone(),
    };
    let attempt = Attempt {
        action: audit::REUSE_MAILED,
        user_id: &alert.user_id,
        session_id: &alert.session_id,
        ..Attempt::default()
    };
    step.record(&origin, attempt, reason);
}

#[cfg(test)]
mod tests {
    use quire_clock::Entropy;

    use super::*;

    /// Draws the longest wait every time.
    struct Longest;

    impl Entropy for Longest {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(0xff);
        }
    }

    #[test]
    fn the_wait_doubles_up_to_an_hour_and_ends() {
        let world = World::system().with_entropy(Arc::new(Longest));
        let wait = |attempts, retryable| {
            let error = MailError { what: String::new(), retryable };
            wait(&world, attempts, &error).map(|wait| wait.as_secs())
        };
        assert_eq!(
            [1, 2, 3, 12, 13, 99].map(|tries| wait(tries, true)),
            [Some(1), Some(2), Some(4), Some(2048), Some(3600), Some(3600)]
        );
        assert_eq!(wait(100, true), None);
        assert_eq!(wait(1, false), None);
    }
}
