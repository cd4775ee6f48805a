//! Sign-in by a mailed link that works once.
//!
//! Asking for a link does the same work and gets the same answer whether the address is known or not; the
//! account is made when the link is used. Reading the link's page spends nothing: the token is in the URL's
//! fragment, which no server or mail scanner sees, and is spent by the call that carries it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quire_clock::World;
use quire_database::Database;
use quire_identity::{Origin, Role};
use quire_limit::{Limiter, RouteLimit};
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use crate::audit::{self, Attempt, Audit};
use crate::email::Email;
use crate::error::AuthError;
use crate::mail::{Letter, Post};
use crate::sessions::Sessions;
use crate::store::{self, magic_link, user};
use crate::tokens::TokenPair;

pub struct MagicLinks {
    pub database: Database,
    pub world: World,
    pub audit: Audit,
    pub sessions: Sessions,
    pub post: Post,
    pub limiter: Limiter,
    /// Per address, whether or not there is an account.
    pub limit: RouteLimit,
    pub lifetime: Duration,
    /// The page that reads the token out of the fragment.
    pub sign_in_url: String,
}

/// A user who has just signed in.
pub struct SignedIn {
    pub user: user::Model,
    pub role: Role,
    pub tokens: TokenPair,
}

impl MagicLinks {
    /// Mails a link. The mail leaves after this returns, so that the time taken says nothing either.
    ///
    /// # Errors
    /// The address is not one, too many links were asked for it, or too many mails are waiting.
    pub async fn request(&self, email: &str, origin: &Origin) -> Result<Duration, AuthError> {
        let anonymous = Attempt { action: audit::LINK_REQUESTED, ..Attempt::default() };
        let email = match Email::parse(email) {
            Ok(email) => email,
            Err(rule) => {
                self.audit.refused(origin, anonymous, "EMAIL_INVALID").await?;
                return Err(AuthError::Email(rule));
            }
        };
        let Some(place) = self.post.reserve() else {
            self.audit.refused(origin, anonymous, "MAIL_BUSY").await?;
            return Err(AuthError::MailBusy);
        };
        let decision = self.limiter.check(&self.limit, email.as_str()).await;
        if !decision.allowed {
            self.audit.refused(origin, anonymous, "MAIL_LIMIT").await?;
            return Err(AuthError::MailLimit { retry_after: decision.retry_after });
        }

        let token = URL_SAFE_NO_PAD.encode(self.world.bytes::<32>());
        let id = self.world.id();
        let transaction = self.database.begin_write().await?;
        let now = self.world.now();
        let link = magic_link::Model {
            id: id.clone(),
            token_hash: hash(&token),
            email: email.as_str().to_owned(),
            created_at: now.unix_micros(),
            expires_at: now.plus(self.lifetime).unix_micros(),
            used_at: None,
        };
        store::add_link(&transaction, link, now).await?;
        let known = store::user_by_email(&transaction, email.as_str()).await?;
        let user_id = known.map(|user| user.id).unwrap_or_default();
        let attempt = Attempt { user_id: &user_id, ..anonymous };
        self.audit.success(&transaction, origin, attempt).await?;
        transaction.commit().await?;

        place.send(Letter {
            id,
            at: now,
            to: email,
            link: SecretString::from(format!("{}#token={token}", self.sign_in_url)),
            lifetime: self.lifetime,
            user_id,
            origin: origin.clone(),
        });
        Ok(self.lifetime)
    }

    /// Trades a link's token for a session. Of any number of callers exactly one succeeds.
    ///
    /// # Errors
    /// `LinkInvalid` if the link was used, has expired or was never sent: the same answer for all.
    pub async fn verify(&self, token: &str, origin: &Origin) -> Result<SignedIn, AuthError> {
        let hash = hash(token);
        let attempt = Attempt { action: audit::LINK_VERIFIED, ..Attempt::default() };
        let transaction = self.database.begin_write().await?;
        let now = self.world.now();
        let Some(email) = store::email_of_link(&transaction, &hash).await? else {
            return self.refuse(transaction, origin, attempt).await;
        };
        // The user's row comes first and is locked, so that two links of one address cannot wait for each other.
        let fresh = user::Model {
            id: self.world.id(),
            email,
            created_at: now.unix_micros(),
            last_sign_in_at: now.unix_micros(),
        };
        let user = store::sign_in_user(&transaction, fresh, now).await?;
        if !store::spend_link(&transaction, &hash, now).await? {
            return self.refuse(transaction, origin, attempt).await;
        }
        store::void_links(&transaction, &user.email, now).await?;
        let session = self.sessions.begin(&transaction, &user, origin, now).await?;
        let role = self.sessions.role(&user.email);
        // Minted before the commit: a link must not be spent on tokens that cannot be signed.
        let tokens = self.sessions.tokens.mint(&session, role).await?;
        let attempt = Attempt { user_id: &user.id, session_id: &session.id, ..attempt };
        self.audit.success(&transaction, origin, attempt).await?;
        transaction.commit().await?;
        Ok(SignedIn { user, role, tokens })
    }

    /// Takes everything back, the account included, and leaves an audit row.
    async fn refuse<T>(
        &self,
        transaction: sea_orm::DatabaseTransaction,
        origin: &Origin,
        attempt: Attempt<'_>,
    ) -> Result<T, AuthError> {
        transaction.rollback().await?;
        self.audit.refused(origin, attempt, "MAGIC_LINK_INVALID").await?;
        Err(AuthError::LinkInvalid)
    }
}

/// Tokens have 256 random bits, so a plain hash is enough at rest.
fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}
