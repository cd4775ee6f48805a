//! Sessions: begun by a sign-in, carried on by refresh tokens, ended by logout, revocation, expiry or reuse.

mod confirm;
mod device;
mod refresh;
mod revoke;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use quire_clock::{Timestamp, World};
use quire_database::Database;
use quire_fault::{Rule, Violation};
use quire_identity::{Origin, Role, UserCaller};
use tokio::sync::Notify;

use crate::change::Writer;
use crate::error::AuthError;
use crate::metrics::AuthMetrics;
use crate::store::{self, session, user};
use crate::tokens::Tokens;

pub use revoke::{Reason, revoke_all};

/// Longer names of sessions are not kept.
const MAX_NAME: usize = 100;
/// Longer user agents are cut.
const MAX_AGENT: usize = 200;

/// How long sessions live.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Without a refresh.
    pub idle: Duration,
    /// Whatever happens.
    pub absolute: Duration,
    /// How long after a rotation the token before it still yields the same successor.
    pub grace: Duration,
    /// The same while no access token of the successor was seen in use.
    pub retry: Duration,
}

#[derive(Clone)]
pub struct Sessions {
    pub database: Database,
    pub world: World,
    pub writer: Writer,
    pub tokens: Tokens,
    pub lifetimes: Lifetimes,
    /// Wakes the relay of mails to owners.
    pub alerted: Arc<Notify>,
    pub metrics: AuthMetrics,
    /// Addresses of operators, trimmed and in lower case.
    pub admins: Arc<HashSet<String>>,
}

impl Sessions {
    /// The caller's user and session, read now: an access token alone says nothing about a logout since. Confirms
    /// that the session's present generation has reached its owner.
    ///
    /// # Errors
    /// `SessionEnded` if the session is over, `UserBlocked` if an operator has shut the user out.
    pub async fn current(&self, caller: &UserCaller) -> Result<(user::Model, session::Model), AuthError> {
        let (user, session) = self.standing(&caller.session_id, &caller.user_id).await?;
        self.confirm_seen(&session, caller.generation).await;
        Ok((user, session))
    }

    /// The session and its user, if both are good.
    ///
    /// # Errors
    /// As [`Self::current`].
    pub async fn standing(
        &self,
        session_id: &str,
        user_id: &str,
    ) -> Result<(user::Model, session::Model), AuthError> {
        let found = store::session_and_user(self.database.reader(), session_id).await?;
        let (session, user) = found.filter(|(_, user)| user.id == user_id).ok_or(AuthError::SessionEnded)?;
        if user.blocked_at.is_some() {
            return Err(AuthError::UserBlocked);
        }
        if !session.is_active(self.world.now()) {
            return Err(AuthError::SessionEnded);
        }
        Ok((user, session))
    }

    /// The caller's active sessions, newest first.
    ///
    /// # Errors
    /// As [`Self::current`].
    pub async fn list(&self, caller: &UserCaller) -> Result<Vec<session::Model>, AuthError> {
        self.current(caller).await?;
        Ok(store::active_sessions(self.database.reader(), &caller.user_id, self.world.now()).await?)
    }

    /// Gives one of the caller's sessions a name.
    ///
    /// # Errors
    /// The name is empty or too long, or the session is not an active one of the caller's.
    pub async fn rename(
        &self,
        caller: &UserCaller,
        id: &str,
        name: &str,
        origin: &Origin,
    ) -> Result<session::Model, AuthError> {
        self.current(caller).await?;
        let name = name.trim();
        let rule = match name.chars().count() {
            0 => Some(Rule::StringTooShort(1)),
            count if count > MAX_NAME => Some(Rule::StringTooLong(MAX_NAME as i64)),
            _ if name.chars().any(char::is_control) => {
                Some(Rule::Value("a name has no control characters".to_owned()))
            }
            _ => None,
        };
        if let Some(rule) = rule {
            return Err(AuthError::Invalid(vec![Violation::new("name", rule)]));
        }
        let rename = revoke::Rename {
            id: id.to_owned(),
            user_id: caller.user_id.clone(),
            name: name.to_owned(),
            origin: origin.clone(),
        };
        self.writer.commit(rename).await?.ok_or(AuthError::SessionNotFound)
    }

    /// Decided by the settings, at each sign-in and refresh: taking an address off the list takes the role away
    /// when the present access token ends.
    pub fn role(&self, email: &str) -> Role {
        if self.admins.contains(email) { Role::Admin } else { Role::User }
    }

    /// The role of a user by id.
    async fn role_of(&self, user_id: &str) -> Result<Role, AuthError> {
        if self.admins.is_empty() {
            return Ok(Role::User);
        }
        let user = store::user_by_id(self.database.reader(), user_id).await?;
        Ok(self.role(&user.ok_or(AuthError::SessionEnded)?.email))
    }
}

/// A session that begins now.
pub fn fresh(
    id: String,
    user: &user::Model,
    origin: &Origin,
    now: Timestamp,
    lifetimes: &Lifetimes,
    signing_kid: &str,
) -> session::Model {
    session::Model {
        id,
        user_id: user.id.clone(),
        generation: 1,
        confirmed_generation: 1,
        signing_kid: signing_kid.to_owned(),
        rotated_at: now.unix_micros(),
        created_at: now.unix_micros(),
        last_used_at: now.unix_micros(),
        idle_expires_at: now.plus(lifetimes.idle).unix_micros(),
        absolute_expires_at: now.plus(lifetimes.absolute).unix_micros(),
        revoked_at: None,
        revoke_reason: None,
        revoked_seq: None,
        user_agent: origin.user_agent.chars().take(MAX_AGENT).collect(),
        name: device::name(&origin.user_agent),
        client_address: origin.client_address.clone(),
    }
}
