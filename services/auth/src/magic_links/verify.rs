//! Using a link or its code.

use async_trait::async_trait;
use quire_identity::Origin;
use sea_orm::DbErr;

use super::{CodeKey, MagicLinks, SignedIn, code, hash, request};
use crate::audit::{self, Attempt};
use crate::change::{Change, Step};
use crate::error::AuthError;
use crate::sessions::{self, Lifetimes};
use crate::store::{self, session, user};

/// Codes compared for one mail.
const TRIES: i64 = 5;
/// A good link on a device that did not ask for it: most likely a mail scanner that followed it and pressed the
/// button.
const VERIFIER_MISMATCH: &str = "VERIFIER_MISMATCH";

/// What a person got by mail.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    Token(&'a str),
    Code(&'a str),
}

impl MagicLinks {
    /// Trades a link's token, or the code of its mail, for a session. Of any number of callers exactly one succeeds.
    ///
    /// # Errors
    /// `LinkInvalid` if the link was used, has expired, was never sent or belongs to another device, and for a wrong
    /// code: the same answer for all. `UserBlocked` for the right one of a blocked user.
    pub async fn verify(
        &self,
        proof: Proof<'_>,
        verifier: &str,
        origin: &Origin,
    ) -> Result<SignedIn, AuthError> {
        let signing_kid = self.sessions.tokens.signing_kid().await?;
        let secret = match proof {
            Proof::Token(token) => Secret::Token(hash(token)),
            Proof::Code(typed) => Secret::Code(code::normalise(typed)),
        };
        // What cannot be a verifier is nobody's, but takes the same way.
        let verifier = if request::is_verifier(verifier) { verifier } else { "" };
        let take = Take {
            secret,
            verifier_hash: hash(verifier),
            codes: self.codes.clone(),
            lifetimes: self.sessions.lifetimes,
            signing_kid,
            origin: origin.clone(),
        };
        match self.writer.commit(take).await? {
            Outcome::SignedIn(signed_in) => {
                let (user, session) = *signed_in;
                let role = self.sessions.role(&user.email);
                let tokens = self.sessions.tokens.mint(&session, role).await?;
                Ok(SignedIn { user, role, tokens })
            }
            Outcome::Blocked => Err(AuthError::UserBlocked),
            Outcome::Invalid(reason) => {
                if reason == VERIFIER_MISMATCH {
                    self.metrics.prefetches.inc();
                }
                Err(AuthError::LinkInvalid)
            }
        }
    }
}

enum Secret {
    /// As it is stored.
    Token(String),
    /// `None`: what was typed cannot be a code, but counts as a try.
    Code(Option<String>),
}

struct Take {
    secret: Secret,
    verifier_hash: String,
    codes: CodeKey,
    lifetimes: Lifetimes,
    signing_kid: String,
    origin: Origin,
}

enum Outcome {
    SignedIn(Box<(user::Model, session::Model)>),
    Blocked,
    /// Why, for the audit log.
    Invalid(&'static str),
}

#[async_trait]
impl Change for Take {
    type Outcome = Outcome;

    async fn apply(&self, step: &mut Step<'_>) -> Result<Outcome, DbErr> {
        let attempt = Attempt { action: audit::LINK_VERIFIED, ..Attempt::default() };
        let email = match self.spend(step).await? {
            Ok(email) => email,
            Err(reason) => {
                step.record(&self.origin, attempt, reason);
                return Ok(Outcome::Invalid(reason));
            }
        };
        let fresh = user::Model {
            id: step.world().id(),
            email,
            created_at: step.now.unix_micros(),
            last_sign_in_at: step.now.unix_micros(),
            blocked_at: None,
            status_seq: 0,
        };
        let user = store::sign_in_user(step.connection, fresh).await?;
        let attempt = Attempt { user_id: &user.id, ..attempt };
        if user.blocked_at.is_some() {
            step.record(&self.origin, attempt, "USER_BLOCKED");
            return Ok(Outcome::Blocked);
        }
        store::void_links(step.connection, &user.email, step.now).await?;
        let id = step.world().id();
        let session = sessions::fresh(id, &user, &self.origin, step.now, &self.lifetimes, &self.signing_kid);
        store::add_session(step.connection, session.clone()).await?;
        step.record(&self.origin, Attempt { session_id: &session.id, ..attempt }, "");
        Ok(Outcome::SignedIn(Box::new((user, session))))
    }
}

impl Take {
    /// The address of the link that was spent, or why none was.
    async fn spend(&self, step: &Step<'_>) -> Result<Result<String, &'static str>, DbErr> {
        match &self.secret {
            Secret::Token(token) => {
                let spent = store::spend_link(step.connection, token, &self.verifier_hash, step.now).await?;
                if let Some(link) = spent {
                    return Ok(Ok(link.email));
                }
                let elsewhere = store::is_open_elsewhere(step.connection, token, step.now).await?;
                Ok(Err(if elsewhere { VERIFIER_MISMATCH } else { "MAGIC_LINK_INVALID" }))
            }
            Secret::Code(code) => {
                let open = store::count_try(step.connection, &self.verifier_hash, TRIES, step.now).await?;
                let code = code.as_deref().unwrap_or_default();
                let right = open.iter().filter(|link| self.codes.is(&link.id, code, &link.code_mac));
                let right: Vec<_> = right.cloned().collect();
                let used_up = open.into_iter().filter(|link| link.tries >= TRIES).map(|link| link.id);
                let used_up: Vec<String> = used_up.chain(right.iter().map(|link| link.id.clone())).collect();
                if !used_up.is_empty() {
                    store::void_links_of(step.connection, used_up, step.now).await?;
                }
                Ok(right.into_iter().next().map(|link| link.email).ok_or("CODE_INVALID"))
            }
        }
    }
}
