//! Refresh: a token is traded for the next generation.
//!
//! Tokens rotate as RFC 9700 section 4.14.2 asks. The row holds a generation counter, which one conditional update
//! moves. The token before the present one is answered with the same successor for a few seconds, because tabs
//! race; and for up to a day as long as no access token of the successor was seen in use, because answers get lost
//! and a phone must not be logged out for it. After that it counts as stolen and ends its session. Counting
//! deliveries instead of time alone is what keeps a thief who stays one generation behind from going unnoticed.

use async_trait::async_trait;
use quire_clock::Timestamp;
use quire_identity::{Origin, RefreshClaims};
use sea_orm::DbErr;

use super::{Lifetimes, Reason, Sessions};
use crate::alerts;
use crate::audit::{self, Attempt};
use crate::change::{Change, Refused, Step};
use crate::error::AuthError;
use crate::metrics::RefreshOutcome;
use crate::store::{self, session};
use crate::tokens::TokenPair;

impl Sessions {
    /// Trades a refresh token for the next pair.
    ///
    /// # Errors
    /// `RefreshInvalid` for anything that is not a refresh token of ours, `SessionEnded` after logout or expiry,
    /// `RefreshReused` when a spent token comes back, which ends the session.
    pub async fn refresh(&self, token: &str, origin: &Origin) -> Result<TokenPair, AuthError> {
        let Some(presented) = self.tokens.read_refresh(token).await? else {
            let refused = Refused {
                action: audit::REFRESHED,
                user_id: String::new(),
                origin: origin.clone(),
                reason: "REFRESH_TOKEN_INVALID",
            };
            self.writer.commit(refused).await?;
            self.metrics.refresh(RefreshOutcome::Invalid);
            return Err(AuthError::RefreshInvalid);
        };
        let spend = Spend {
            presented,
            lifetimes: self.lifetimes,
            signing_kid: self.tokens.signing_kid().await?,
            origin: origin.clone(),
        };
        let outcome = self.writer.commit(spend).await?;
        self.world.reach("auth.refresh.committed");
        self.metrics.refresh(outcome.counted_as());
        match outcome {
            Outcome::Rotated(session) | Outcome::Repeated(session) => {
                let role = self.role_of(&session.user_id).await?;
                self.tokens.mint(&session, role).await
            }
            Outcome::Ended => Err(AuthError::SessionEnded),
            Outcome::Reused => {
                self.alerted.notify_one();
                Err(AuthError::RefreshReused)
            }
            Outcome::Unknown => Err(AuthError::RefreshInvalid),
        }
    }
}

/// One transaction: the rotation, or the revocation and the mail to the owner, and its audit rows.
struct Spend {
    presented: RefreshClaims,
    lifetimes: Lifetimes,
    signing_kid: String,
    origin: Origin,
}

/// What a refresh found, with the row of the present generation.
enum Outcome {
    Rotated(session::Model),
    Repeated(session::Model),
    Ended,
    Reused,
    Unknown,
}

impl Outcome {
    fn counted_as(&self) -> RefreshOutcome {
        match self {
            Self::Rotated(_) => RefreshOutcome::Rotated,
            Self::Repeated(_) => RefreshOutcome::Repeated,
            Self::Ended => RefreshOutcome::Ended,
            Self::Reused => RefreshOutcome::Reused,
            Self::Unknown => RefreshOutcome::Invalid,
        }
    }
}

#[async_trait]
impl Change for Spend {
    type Outcome = Outcome;

    async fn apply(&self, step: &mut Step<'_>) -> Result<Outcome, DbErr> {
        let presented = &self.presented;
        let attempt = Attempt {
            action: audit::REFRESHED,
            user_id: &presented.sub,
            session_id: &presented.sid,
            ..Attempt::default()
        };
        let idle = step.now.plus(self.lifetimes.idle);
        let (id, generation) = (&presented.sid, presented.generation);
        let rotated =
            store::rotate_session(step.connection, id, generation, &self.signing_kid, step.now, idle).await?;
        if let Some(session) = rotated {
            step.record(&self.origin, attempt, "");
            return Ok(Outcome::Rotated(session));
        }
        let session = store::session_by_id(step.connection, id).await?;
        let Some(session) = session.filter(|session| session.user_id == presented.sub) else {
            let attempt = Attempt { action: audit::REFRESHED, ..Attempt::default() };
            step.record(&self.origin, attempt, "REFRESH_TOKEN_INVALID");
            return Ok(Outcome::Unknown);
        };
        match self.judge(session, step.now) {
            // Nothing is written to the row: both times are counted from the rotation and cannot be extended.
            Verdict::Again(session, action) => {
                step.record(&self.origin, Attempt { action, ..attempt }, "");
                Ok(Outcome::Repeated(session))
            }
            Verdict::Ended(reason) => {
                step.record(&self.origin, attempt, reason);
                Ok(Outcome::Ended)
            }
            Verdict::Reused(session) => {
                // Two holders of one token: nobody can tell the owner from the thief, so both lose the session.
                step.record(&self.origin, attempt, "REFRESH_TOKEN_REUSED");
                let revoked = Attempt { action: audit::REVOKED, ..attempt };
                let seq = step.record(&self.origin, revoked, "");
                store::revoke_session(step.connection, id, Reason::Reuse.as_str(), seq, step.now).await?;
                alerts::enqueue(step, &session, &self.origin).await?;
                step.announce();
                Ok(Outcome::Reused)
            }
        }
    }
}

/// Why a token did not rotate its session.
enum Verdict {
    /// The same successor once more, and the action for the audit log.
    Again(session::Model, &'static str),
    Ended(&'static str),
    Reused(session::Model),
}

impl Spend {
    /// "Ended" comes first: revoking is final, and no grace undoes it.
    fn judge(&self, session: session::Model, now: Timestamp) -> Verdict {
        if session.revoked_at.is_some() {
            return Verdict::Ended("SESSION_REVOKED");
        }
        if !session.is_active(now) {
            return Verdict::Ended("SESSION_EXPIRED");
        }
        let parent = session.generation == self.presented.generation.saturating_add(1);
        let rotated_for = now.since(Timestamp::from_unix_micros(session.rotated_at));
        if parent && rotated_for <= self.lifetimes.grace {
            return Verdict::Again(session, audit::REFRESH_GRACE);
        }
        let delivered = session.confirmed_generation >= session.generation;
        if parent && !delivered && rotated_for <= self.lifetimes.retry {
            return Verdict::Again(session, audit::REFRESH_RETRIED);
        }
        Verdict::Reused(session)
    }
}
