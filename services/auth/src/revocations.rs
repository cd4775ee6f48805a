//! The stream of revocations: what verifiers must hear within a second.
//!
//! The audit log numbers all changes without gaps in the order of their commits, so one number is a place to go on
//! from. A single task watches it for all streams: at once after a change of this process, four times a second for
//! those of other replicas. Streams get a message at least every second, and only while the database answers: a
//! verifier that hears nothing must ask.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use quire_clock::{Timestamp, World};
use quire_database::Database;
use quire_proto::auth::v1 as pb;
use quire_proto::auth::v1::revocation::Subject;
use quire_proto::timestamp;
use sea_orm::DbErr;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::change::Writer;
use crate::error::AuthError;
use crate::keys::Keyring;
use crate::store;

const POLL: Duration = Duration::from_millis(250);
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// Added to the lifetime of access tokens, for clocks that differ.
const MARGIN: Duration = Duration::from_secs(60);

/// The place up to which everything is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Mark {
    seq: i64,
    keys_version: String,
}

/// Makes streams. Cheap to clone.
#[derive(Clone)]
pub struct Revocations {
    database: Database,
    world: World,
    /// No access token outlives its session by more.
    horizon: Duration,
    mark: Arc<watch::Sender<Option<Mark>>>,
    shutdown: CancellationToken,
}

impl Revocations {
    pub fn new(
        database: Database,
        world: World,
        access_lifetime: Duration,
        shutdown: CancellationToken,
    ) -> Self {
        let mark = Arc::new(watch::Sender::new(None));
        Self { database, world, horizon: access_lifetime + MARGIN, mark, shutdown }
    }

    /// Keeps the mark moving until the shutdown; also lets the keys grow older. `announced`: a change of this
    /// process is to be sent at once.
    pub async fn keep(self, keyring: Keyring, writer: Writer, announced: Arc<Notify>) {
        let mut told = Instant::now();
        let mut failing = false;
        loop {
            match self.look(&keyring, &writer).await {
                Ok(mark) => {
                    failing = false;
                    let news = self.mark.borrow().as_ref() != Some(&mark);
                    if news || told.elapsed() >= SIGN_OF_LIFE - POLL {
                        self.mark.send_replace(Some(mark));
                        told = Instant::now();
                    }
                }
                Err(error) if !failing => {
                    quire_fault::log_internal("auth", &error);
                    failing = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = announced.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    async fn look(&self, keyring: &Keyring, writer: &Writer) -> Result<Mark, AuthError> {
        let mut keys = keyring.get().await?;
        if let Some(due) = keyring.due(&self.world) {
            writer.commit(due).await?;
        }
        let seq = store::head(self.database.reader()).await?.seq;
        let before = self.mark.borrow().as_ref().map(|mark| mark.seq);
        if before != Some(seq) {
            let rows = store::signing_keys(self.database.reader()).await?;
            if crate::keys::version(&rows) != keys.version {
                keys = keyring.reload().await?;
            }
        }
        Ok(Mark { seq, keys_version: keys.version.clone() })
    }

    /// Everything after a place that may still matter, then live.
    pub fn watch(
        &self,
        after: i64,
    ) -> impl Stream<Item = Result<pb::WatchRevocationsResponse, Status>> + Send + use<> {
        let this = self.clone();
        let mut marks = self.mark.subscribe();
        // The present mark is news to a new stream.
        marks.mark_changed();
        async_stream::stream! {
            let mut cursor = after;
            loop {
                tokio::select! {
                    () = this.shutdown.cancelled() => return,
                    changed = marks.changed() => if changed.is_err() { return },
                }
                let Some(mark) = marks.borrow_and_update().clone() else { continue };
                if cursor > mark.seq {
                    // A place in another log: this database was restored, or is a new one.
                    cursor = 0;
                }
                match this.between(cursor, mark.seq).await {
                    Ok(revocations) => {
                        cursor = mark.seq;
                        yield Ok(pb::WatchRevocationsResponse {
                            seq: mark.seq,
                            revocations,
                            keys_version: mark.keys_version,
                        });
                    }
                    Err(error) => {
                        yield Err(AuthError::Database(error).into());
                        return;
                    }
                }
            }
        }
    }

    /// Revocations in `(after, up_to]` that still matter.
    async fn between(&self, after: i64, up_to: i64) -> Result<Vec<pb::Revocation>, DbErr> {
        if after == up_to {
            return Ok(Vec::new());
        }
        let reader = self.database.reader();
        let since = self.world.now().minus(self.horizon);
        let mut revocations = Vec::new();
        for session in store::revoked_sessions(reader, after, up_to, since).await? {
            let at = Timestamp::from_unix_micros(session.revoked_at.unwrap_or_default());
            revocations.push(self.revocation(Subject::SessionId(session.id), at));
        }
        for user in store::status_changes(reader, after, up_to).await? {
            revocations.push(match user.blocked_at.map(Timestamp::from_unix_micros) {
                // After the horizon no token of the user is left.
                Some(at) if at <= since => continue,
                Some(at) => self.revocation(Subject::BlockedUserId(user.id), at),
                None => self.revocation(Subject::UnblockedUserId(user.id), since),
            });
        }
        Ok(revocations)
    }

    fn revocation(&self, subject: Subject, at: Timestamp) -> pb::Revocation {
        let forget_at = timestamp(at.plus(self.horizon).unix_micros());
        pb::Revocation { subject: Some(subject), forget_at: Some(forget_at) }
    }
}
