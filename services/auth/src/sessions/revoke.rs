//! Ending sessions before their time, and naming them.

use async_trait::async_trait;
use quire_identity::{Origin, UserCaller};
use sea_orm::DbErr;

use super::Sessions;
use crate::audit::{self, Attempt};
use crate::change::{Change, Step};
use crate::error::AuthError;
use crate::store::{self, session};

/// Why a session was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// By itself.
    Logout,
    /// From another session of its owner.
    Owner,
    /// A spent refresh token came back.
    Reuse,
    /// An operator has blocked the user.
    Blocked,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Owner => "owner",
            Self::Reuse => "reuse",
            Self::Blocked => "blocked",
        }
    }
}

impl Sessions {
    /// Ends the caller's session. Ending it twice is no error.
    pub async fn end(&self, caller: &UserCaller, origin: &Origin) -> Result<(), AuthError> {
        let (caller, origin) = (caller.clone(), origin.clone());
        self.writer.commit(Logout { caller, origin }).await
    }

    /// Ends one of the caller's sessions. Ending it twice is no error.
    ///
    /// # Errors
    /// `SessionNotFound` if the caller has no such session.
    pub async fn revoke(&self, caller: &UserCaller, id: &str, origin: &Origin) -> Result<(), AuthError> {
        self.current(caller).await?;
        let revoke = RevokeOne { id: id.to_owned(), user_id: caller.user_id.clone(), origin: origin.clone() };
        if id.contains('\0') || !self.writer.commit(revoke).await? {
            return Err(AuthError::SessionNotFound);
        }
        Ok(())
    }

    /// Ends all sessions of the caller but the caller's own. Answers how many.
    ///
    /// # Errors
    /// The caller's session is over.
    pub async fn revoke_others(&self, caller: &UserCaller, origin: &Origin) -> Result<usize, AuthError> {
        self.current(caller).await?;
        self.writer.commit(RevokeOthers { caller: caller.clone(), origin: origin.clone() }).await
    }
}

struct Logout {
    caller: UserCaller,
    origin: Origin,
}

#[async_trait]
impl Change for Logout {
    type Outcome = ();

    async fn apply(&self, step: &mut Step<'_>) -> Result<(), DbErr> {
        let (user_id, session_id) = (&self.caller.user_id, &self.caller.session_id);
        let attempt = Attempt { action: audit::LOGGED_OUT, user_id, session_id, ..Attempt::default() };
        let seq = step.record(&self.origin, attempt, "");
        if store::revoke_session(step.connection, session_id, Reason::Logout.as_str(), seq, step.now).await? {
            step.announce();
        }
        Ok(())
    }
}

struct RevokeOne {
    id: String,
    user_id: String,
    origin: Origin,
}

#[async_trait]
impl Change for RevokeOne {
    /// `false` if the user has no such session.
    type Outcome = bool;

    async fn apply(&self, step: &mut Step<'_>) -> Result<bool, DbErr> {
        let session = store::session_by_id(step.connection, &self.id).await?;
        let Some(session) = session.filter(|session| session.user_id == self.user_id) else {
            return Ok(false);
        };
        if session.revoked_at.is_none() {
            revoke(step, &session, Reason::Owner, "", &self.origin).await?;
        }
        Ok(true)
    }
}

struct RevokeOthers {
    caller: UserCaller,
    origin: Origin,
}

#[async_trait]
impl Change for RevokeOthers {
    type Outcome = usize;

    async fn apply(&self, step: &mut Step<'_>) -> Result<usize, DbErr> {
        let sessions = store::active_sessions(step.connection, &self.caller.user_id, step.now).await?;
        let others = sessions.iter().filter(|session| session.id != self.caller.session_id);
        let mut count = 0;
        for session in others {
            revoke(step, session, Reason::Owner, "", &self.origin).await?;
            count += 1;
        }
        Ok(count)
    }
}

/// Ends every active session of a user inside a change.
pub async fn revoke_all(
    step: &mut Step<'_>,
    user_id: &str,
    reason: Reason,
    actor_id: &str,
    origin: &Origin,
) -> Result<(), DbErr> {
    for session in store::active_sessions(step.connection, user_id, step.now).await? {
        revoke(step, &session, reason, actor_id, origin).await?;
    }
    Ok(())
}

async fn revoke(
    step: &mut Step<'_>,
    session: &session::Model,
    reason: Reason,
    actor_id: &str,
    origin: &Origin,
) -> Result<(), DbErr> {
    let attempt =
        Attempt { action: audit::REVOKED, user_id: &session.user_id, session_id: &session.id, actor_id };
    let seq = step.record(origin, attempt, "");
    store::revoke_session(step.connection, &session.id, reason.as_str(), seq, step.now).await?;
    step.announce();
    Ok(())
}

pub(super) struct Rename {
    pub(super) id: String,
    pub(super) user_id: String,
    pub(super) name: String,
    pub(super) origin: Origin,
}

#[async_trait]
impl Change for Rename {
    type Outcome = Option<session::Model>;

    async fn apply(&self, step: &mut Step<'_>) -> Result<Option<session::Model>, DbErr> {
        if self.id.contains('\0') {
            return Ok(None);
        }
        let Self { id, user_id, name, origin } = self;
        let renamed = store::rename_session(step.connection, id, user_id, name, step.now).await?;
        if renamed.is_some() {
            let attempt = Attempt { action: audit::RENAMED, user_id, session_id: id, ..Attempt::default() };
            step.record(origin, attempt, "");
        }
        Ok(renamed)
    }
}
