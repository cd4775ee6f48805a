//! What a verifier knows of sessions that ended before their tokens do. It is kept in memory, fed by auth's
//! stream of revocations, and bounded by the lifetime of access tokens.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use quire_clock::Timestamp;
use quire_fault::{Fault, Kind};
use quire_proto::auth::v1 as pb;
use quire_proto::auth::v1::revocation::Subject;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::UserCaller;

/// Auth sends a sign of life every second. After so much silence nothing can be said without asking it.
pub(crate) const STALE: Duration = Duration::from_secs(3);

/// What is known of a caller's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Good,
    Ended,
    Blocked,
    /// The stream is silent: auth must be asked.
    Unknown,
}

/// The revocations received so far.
pub(crate) struct Standing {
    inner: RwLock<Inner>,
    begun_at: Instant,
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct Inner {
    /// Session id to the moment when it may be forgotten.
    ended: HashMap<String, Timestamp>,
    /// User id to the moment when it may be forgotten.
    blocked: HashMap<String, Timestamp>,
    /// Everything up to here was received.
    seq: i64,
    heard_at: Option<Instant>,
}

impl Standing {
    pub(crate) fn new() -> Self {
        Self { inner: RwLock::default(), begun_at: Instant::now(), changes: watch::Sender::new(()) }
    }

    pub(crate) fn of(&self, caller: &UserCaller) -> Word {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        // What was heard stays true also when the stream has fallen silent since.
        if inner.blocked.contains_key(&caller.user_id) {
            return Word::Blocked;
        }
        if inner.ended.contains_key(&caller.session_id) {
            return Word::Ended;
        }
        match inner.heard_at {
            Some(heard) if heard.elapsed() <= STALE => Word::Good,
            _ => Word::Unknown,
        }
    }

    pub(crate) fn seq(&self) -> i64 {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).seq
    }

    /// When auth was last heard, be it only a sign of life.
    pub(crate) fn heard_at(&self) -> Option<Instant> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).heard_at
    }

    /// How long auth has not been heard.
    pub(crate) fn silent_for(&self) -> Duration {
        self.heard_at().unwrap_or(self.begun_at).elapsed()
    }

    /// Tells when revocations have come in.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    pub(crate) fn apply(&self, message: pb::WatchRevocationsResponse, now: Timestamp) {
        let news = !message.revocations.is_empty();
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.seq = message.seq;
        inner.heard_at = Some(Instant::now());
        if news {
            inner.ended.retain(|_, forget_at| *forget_at > now);
            inner.blocked.retain(|_, forget_at| *forget_at > now);
        }
        for revocation in message.revocations {
            let forget_at = revocation.forget_at.unwrap_or_default();
            let forget_at = Timestamp::from_unix_micros(quire_proto::from_timestamp(&forget_at));
            match revocation.subject {
                Some(Subject::SessionId(id)) => drop(inner.ended.insert(id, forget_at)),
                Some(Subject::BlockedUserId(id)) => drop(inner.blocked.insert(id, forget_at)),
                Some(Subject::UnblockedUserId(id)) => drop(inner.blocked.remove(&id)),
                None => {}
            }
        }
        drop(inner);
        if news {
            self.changes.send_replace(());
        }
    }
}

/// The session is over.
pub fn session_ended() -> Fault {
    Fault::new(Kind::Unauthenticated, "SESSION_ENDED", "the session has ended: sign in again")
}

/// An operator has shut the user out.
pub fn user_blocked() -> Fault {
    Fault::new(Kind::Forbidden, "USER_BLOCKED", "this account is blocked: ask the operator")
}
