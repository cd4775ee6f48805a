//! What can go wrong, and what a caller learns of it.

use std::sync::Arc;
use std::time::Duration;

use quire_fault::{Fault, Kind, Rule, Violation, log_internal};
use quire_identity::{session_ended, user_blocked};
use sea_orm::DbErr;

use crate::keys::KeyError;

/// Why a call was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("the e-mail address breaks a rule")]
    Email(Rule),
    #[error("the request breaks a rule")]
    Invalid(Vec<Violation>),
    #[error("the page token is not one of ours")]
    PageToken,
    #[error("too many links for this address")]
    MailLimit { retry_after: Duration },
    #[error("too many mails are waiting to be sent")]
    MailBusy,
    #[error("the link is not valid")]
    LinkInvalid,
    #[error("the refresh token is not valid")]
    RefreshInvalid,
    #[error("the refresh token was used before")]
    RefreshReused,
    #[error("the session has ended")]
    SessionEnded,
    #[error("the user is blocked")]
    UserBlocked,
    #[error("the caller has no such session")]
    SessionNotFound,
    #[error("there is no such user")]
    UserNotFound,
    #[error("an operator cannot block the own account")]
    SelfBlock,
    #[error("too many changes are waiting")]
    Busy,
    /// Decided by the check of the caller.
    #[error("the caller was refused")]
    Caller(Fault),
    #[error("the signing key cannot be used")]
    Keys(#[from] KeyError),
    #[error("a token cannot be signed")]
    Signing(#[from] jsonwebtoken::errors::Error),
    #[error("the database refused")]
    Database(#[from] DbErr),
    /// Shared by all changes of one transaction.
    #[error("the database refused a change")]
    Commit(#[source] Arc<DbErr>),
}

impl AuthError {
    /// The one mapping to what a caller sees.
    pub fn fault(self) -> Fault {
        let unauthenticated =
            |reason: &str, message: &str| Fault::new(Kind::Unauthenticated, reason, message);
        match self {
            Self::Email(rule) => Fault::invalid_field("email", rule),
            Self::Invalid(violations) => Fault::invalid(violations),
            Self::PageToken => {
                Fault::new(Kind::Malformed, "PAGE_TOKEN_INVALID", "the page token is not one of ours")
            }
            Self::MailLimit { retry_after } => {
                Fault::new(Kind::TooMany, "MAIL_LIMIT", "too many links were asked for this address")
                    .with_retry_after(retry_after)
            }
            Self::MailBusy => {
                Fault::new(Kind::Unavailable, "MAIL_BUSY", "too many mails are waiting to be sent")
                    .with_retry_after(Duration::from_secs(5))
            }
            Self::LinkInvalid => {
                unauthenticated("MAGIC_LINK_INVALID", "the link was used, has expired or was never sent")
            }
            Self::RefreshInvalid => {
                unauthenticated("REFRESH_TOKEN_INVALID", "the refresh token is not valid")
            }
            Self::RefreshReused => unauthenticated(
                "REFRESH_TOKEN_REUSED",
                "the refresh token was used before, so its session was ended: sign in again",
            ),
            Self::SessionEnded => session_ended(),
            Self::UserBlocked => user_blocked(),
            Self::SessionNotFound => {
                Fault::new(Kind::NotFound, "SESSION_NOT_FOUND", "you have no such session")
            }
            Self::UserNotFound => Fault::new(Kind::NotFound, "USER_NOT_FOUND", "there is no such user"),
            Self::SelfBlock => Fault::new(
                Kind::Precondition,
                "CANNOT_BLOCK_SELF",
                "an operator cannot block the own account: ask another operator",
            ),
            Self::Busy => Fault::new(Kind::Unavailable, "AUTH_BUSY", "too many changes are waiting")
                .with_retry_after(Duration::from_secs(1)),
            Self::Caller(fault) => fault,
            Self::Keys(error) => internal(&error),
            Self::Signing(error) => internal(&error),
            Self::Database(error) => internal(&error),
            Self::Commit(error) => internal(error.as_ref()),
        }
    }
}

impl From<Fault> for AuthError {
    fn from(fault: Fault) -> Self {
        Self::Caller(fault)
    }
}

impl From<AuthError> for tonic::Status {
    fn from(error: AuthError) -> Self {
        error.fault().into()
    }
}

fn internal(error: &(dyn std::error::Error + 'static)) -> Fault {
    log_internal("auth", error);
    Fault::internal()
}
