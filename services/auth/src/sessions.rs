//! Sessions: begun by a sign-in, carried on by refresh tokens, ended by logout, expiry or reuse.
//!
//! Refresh tokens rotate as RFC 9700 section 4.14.2 asks. The row holds a generation counter; a refresh moves it
//! with one conditional update. The token before the present one is answered with the same successor for a few
//! seconds, because tabs race and answers get lost; after that it counts as stolen and ends its session.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use quire_clock::{Timestamp, World};
use quire_database::Database;
use quire_identity::{Origin, Role, UserCaller};
use sea_orm::ConnectionTrait;

use crate::audit::{self, Attempt, Audit};
use crate::error::AuthError;
use crate::store::{self, session, user};
use crate::tokens::{Presented, TokenPair, Tokens};

const LOGOUT: &str = "logout";
const REUSE: &str = "reuse";

/// How long sessions live.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Without a refresh.
    pub idle: Duration,
    /// Whatever happens.
    pub absolute: Duration,
    /// How long after a rotation the token before it still yields the same successor.
    pub grace: Duration,
}

#[derive(Clone)]
pub struct Sessions {
    pub database: Database,
    pub world: World,
    pub audit: Audit,
    pub tokens: Tokens,
    pub lifetimes: Lifetimes,
    /// Addresses of operators, trimmed and in lower case.
    pub admins: Arc<HashSet<String>>,
}

/// What a refresh found.
enum Refresh {
    /// The session and the present generation's row.
    Next(session::Model),
    Ended(&'static str),
    Reused,
    Unknown,
}

impl Sessions {
    /// Begins a session inside the caller's transaction.
    pub async fn begin(
        &self,
        connection: &impl ConnectionTrait,
        user: &user::Model,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<session::Model, AuthError> {
        let session = session::Model {
            id: self.world.id(),
            user_id: user.id.clone(),
            generation: 1,
            rotated_at: now.unix_micros(),
            created_at: now.unix_micros(),
            last_used_at: now.unix_micros(),
            idle_expires_at: now.plus(self.lifetimes.idle).unix_micros(),
            absolute_expires_at: now.plus(self.lifetimes.absolute).unix_micros(),
            revoked_at: None,
            revoke_reason: None,
            user_agent: origin.user_agent.chars().take(200).collect(),
        };
        store::add_session(connection, session.clone()).await?;
        Ok(session)
    }

    /// Trades a refresh token for the next pair.
    ///
    /// # Errors
    /// `RefreshInvalid` for anything that is not a refresh token of ours, `SessionEnded` after logout or expiry,
    /// `RefreshReused` when a spent token comes back, which ends the session.
    pub async fn refresh(&self, token: &str, origin: &Origin) -> Result<TokenPair, AuthError> {
        let Some(presented) = self.tokens.read_refresh(token).await? else {
            let attempt = Attempt { action: audit::REFRESHED, ..Attempt::default() };
            self.audit.refused(origin, attempt, "REFRESH_TOKEN_INVALID").await?;
            return Err(AuthError::RefreshInvalid);
        };
        match self.spend(&presented, origin).await? {
            Refresh::Next(session) => {
                let user = store::user_by_id(self.database.reader(), &session.user_id).await?;
                let user = user.ok_or(AuthError::SessionEnded)?;
                self.tokens.mint(&session, self.role(&user.email)).await
            }
            Refresh::Ended(_) => Err(AuthError::SessionEnded),
            Refresh::Reused => Err(AuthError::RefreshReused),
            Refresh::Unknown => Err(AuthError::RefreshInvalid),
        }
    }

    /// One transaction: the rotation, or the revocation, and its audit row.
    async fn spend(&self, presented: &Presented, origin: &Origin) -> Result<Refresh, AuthError> {
        let attempt =
            |action| Attempt { action, user_id: &presented.user_id, session_id: &presented.session_id };
        let id = &presented.session_id;
        let transaction = self.database.begin_write().await?;
        let now = self.world.now();
        let idle = now.plus(self.lifetimes.idle);
        let rotated = store::rotate_session(&transaction, id, presented.generation, now, idle).await?;
        let outcome = match store::session_by_id(&transaction, id).await? {
            None => Refresh::Unknown,
            Some(session) if session.user_id != presented.user_id => Refresh::Unknown,
            Some(session) if rotated => {
                self.audit.success(&transaction, origin, attempt(audit::REFRESHED)).await?;
                Refresh::Next(session)
            }
            Some(session) => self.judge(&session, presented, now),
        };
        match &outcome {
            Refresh::Next(_) if rotated => {}
            // Nothing is written to the row: the grace is counted from the rotation and cannot be extended.
            Refresh::Next(_) => {
                self.audit.success(&transaction, origin, attempt(audit::REFRESH_GRACE)).await?
            }
            Refresh::Ended(reason) => {
                self.audit.failure(&transaction, origin, attempt(audit::REFRESHED), reason).await?;
            }
            Refresh::Unknown => {
                let attempt = Attempt { action: audit::REFRESHED, ..Attempt::default() };
                self.audit.failure(&transaction, origin, attempt, "REFRESH_TOKEN_INVALID").await?;
            }
            Refresh::Reused => {
                // Two holders of one token: nobody can tell the owner from the thief, so both lose the session.
                let reason = "REFRESH_TOKEN_REUSED";
                self.audit.failure(&transaction, origin, attempt(audit::REFRESHED), reason).await?;
                if store::revoke_session(&transaction, id, REUSE, now).await? {
                    self.audit.success(&transaction, origin, attempt(audit::REVOKED)).await?;
                }
            }
        }
        transaction.commit().await?;
        Ok(outcome)
    }

    /// Why a token did not rotate its session. "Ended" comes first: revoking is final, and no grace undoes it.
    fn judge(&self, session: &session::Model, presented: &Presented, now: Timestamp) -> Refresh {
        if session.revoked_at.is_some() {
            return Refresh::Ended("SESSION_REVOKED");
        }
        if !session.is_active(now) {
            return Refresh::Ended("SESSION_EXPIRED");
        }
        let parent = session.generation == presented.generation.saturating_add(1);
        let rotated_for = now.since(Timestamp::from_unix_micros(session.rotated_at));
        if parent && rotated_for <= self.lifetimes.grace {
            return Refresh::Next(session.clone());
        }
        Refresh::Reused
    }

    /// Ends the caller's session. Ending it twice is no error.
    pub async fn end(&self, caller: &UserCaller, origin: &Origin) -> Result<(), AuthError> {
        let transaction = self.database.begin_write().await?;
        let now = self.world.now();
        store::revoke_session(&transaction, &caller.session_id, LOGOUT, now).await?;
        let attempt =
            Attempt { action: audit::LOGGED_OUT, user_id: &caller.user_id, session_id: &caller.session_id };
        self.audit.success(&transaction, origin, attempt).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The caller's user and session, read now: an access token alone says nothing about a logout since.
    ///
    /// # Errors
    /// `SessionEnded` if the session is over.
    pub async fn current(&self, caller: &UserCaller) -> Result<(user::Model, session::Model), AuthError> {
        let session = store::session_by_id(self.database.reader(), &caller.session_id).await?;
        let now = self.world.now();
        let session = session.filter(|session| session.is_active(now) && session.user_id == caller.user_id);
        let session = session.ok_or(AuthError::SessionEnded)?;
        let user = store::user_by_id(self.database.reader(), &caller.user_id).await?;
        Ok((user.ok_or(AuthError::SessionEnded)?, session))
    }

    /// The caller's active sessions, newest first.
    ///
    /// # Errors
    /// As [`Self::current`].
    pub async fn list(&self, caller: &UserCaller) -> Result<Vec<session::Model>, AuthError> {
        self.current(caller).await?;
        Ok(store::active_sessions(self.database.reader(), &caller.user_id, self.world.now()).await?)
    }

    /// Decided by the settings, at each sign-in and refresh: taking an address off the list takes the role away
    /// when the present access token ends.
    pub fn role(&self, email: &str) -> Role {
        if self.admins.contains(email) { Role::Admin } else { Role::User }
    }
}
