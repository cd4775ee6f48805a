//! Asking for a link.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quire_clock::Timestamp;
use quire_fault::{Rule, Violation};
use quire_identity::Origin;
use sea_orm::DbErr;
use secrecy::SecretString;

use super::{MagicLinks, Requested, code, hash, mail_keys};
use crate::audit::{self, Attempt};
use crate::change::{Change, Refused, Step};
use crate::email::Email;
use crate::error::AuthError;
use crate::mail::{Letter, Outgoing, SignIn};
use crate::metrics::{MailKind, MailOutcome};
use crate::store::{self, magic_link};

/// 32 bytes in base64url.
const VERIFIER_LENGTH: usize = 43;

impl MagicLinks {
    /// Mails a link. The mail leaves after this returns, so that the time taken says nothing either. `verifier`: of
    /// an earlier answer to the same device, or empty.
    ///
    /// # Errors
    /// The address is not one, too many links were asked for it, or too many mails are waiting.
    pub async fn request(
        &self,
        email: &str,
        verifier: &str,
        origin: &Origin,
    ) -> Result<Requested, AuthError> {
        let email = match Email::parse(email) {
            Ok(email) => email,
            Err(rule) => {
                self.refuse(origin, "EMAIL_INVALID").await?;
                return Err(AuthError::Email(rule));
            }
        };
        let verifier = match verifier {
            "" => URL_SAFE_NO_PAD.encode(self.world.bytes::<32>()),
            given if is_verifier(given) => given.to_owned(),
            _ => {
                let rule = Rule::Value("leave it out, or send the verifier of an earlier answer".to_owned());
                return Err(AuthError::Invalid(vec![Violation::new("verifier", rule)]));
            }
        };
        let Some(place) = self.post.reserve() else {
            self.metrics.mail(MailKind::SignIn, MailOutcome::Busy);
            self.refuse(origin, "MAIL_BUSY").await?;
            return Err(AuthError::MailBusy);
        };
        let keys = mail_keys(&email);
        let decision = self.limiter.check(&self.limit, &keys).await;
        if !decision.shadowed.is_empty() {
            tracing::info!(policies = ?decision.shadowed, "a mail would have been refused");
        }
        if !decision.allowed {
            self.metrics.mail(MailKind::SignIn, MailOutcome::Refused);
            self.refuse(origin, "MAIL_LIMIT").await?;
            return Err(AuthError::MailLimit { retry_after: decision.retry_after });
        }

        let token = URL_SAFE_NO_PAD.encode(self.world.bytes::<32>());
        let code = code::fresh(&self.world);
        let id = self.world.id();
        let add = Add {
            token_hash: hash(&token),
            verifier_hash: hash(&verifier),
            code_mac: self.codes.mac(&id, &code),
            id: id.clone(),
            email: email.as_str().to_owned(),
            lifetime: self.lifetime,
            origin: origin.clone(),
        };
        let added = match self.writer.commit(add).await {
            Ok(added) => added,
            Err(error) => {
                // No mail leaves, so none is counted.
                self.limiter.give_back(&self.limit, &keys).await;
                return Err(error);
            }
        };
        let link = format!("{}#token={token}", self.sign_in_url);
        let code = code::shown(&code);
        let console = format!("sign-in link for {} (code {code}): {link}", email.as_str());
        place.send(Outgoing {
            letter: Letter::sign_in(SignIn {
                id,
                at: added.at,
                to: email,
                link: &link,
                code: &code,
                lifetime: self.lifetime,
            }),
            console: SecretString::from(console),
            user_id: added.user_id,
            origin: origin.clone(),
        });
        Ok(Requested { lifetime: self.lifetime, verifier })
    }

    async fn refuse(&self, origin: &Origin, reason: &'static str) -> Result<(), AuthError> {
        let (action, user_id, origin) = (audit::LINK_REQUESTED, String::new(), origin.clone());
        self.writer.commit(Refused { action, user_id, origin, reason }).await
    }
}

/// Whether a text may be one of our verifiers.
pub(super) fn is_verifier(text: &str) -> bool {
    text.len() == VERIFIER_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

struct Add {
    id: String,
    token_hash: String,
    verifier_hash: String,
    code_mac: String,
    email: String,
    lifetime: std::time::Duration,
    origin: Origin,
}

struct Added {
    at: Timestamp,
    /// Empty while there is no account.
    user_id: String,
}

#[async_trait]
impl Change for Add {
    type Outcome = Added;

    async fn apply(&self, step: &mut Step<'_>) -> Result<Added, DbErr> {
        let link = magic_link::Model {
            id: self.id.clone(),
            token_hash: self.token_hash.clone(),
            verifier_hash: self.verifier_hash.clone(),
            code_mac: self.code_mac.clone(),
            tries: 0,
            email: self.email.clone(),
            created_at: step.now.unix_micros(),
            expires_at: step.now.plus(self.lifetime).unix_micros(),
            used_at: None,
        };
        store::add_link(step.connection, link, step.now).await?;
        let known = store::user_by_email(step.connection, &self.email).await?;
        let user_id = known.map(|user| user.id).unwrap_or_default();
        let attempt = Attempt { action: audit::LINK_REQUESTED, user_id: &user_id, ..Attempt::default() };
        step.record(&self.origin, attempt, "");
        Ok(Added { at: step.now, user_id })
    }
}
