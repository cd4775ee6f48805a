//! The bearer check: a request without a valid access token goes no further.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use quire_fault::{Fault, Kind};
use quire_identity::UserCaller;

use crate::client_address::ClientAddress;
use crate::error::ApiError;
use crate::limits::{self, Shown};
use crate::state::State;
use crate::upstream::Caller;

/// A signed-in caller, whose request was counted.
pub(crate) struct SignedIn {
    pub(crate) caller: Caller,
    pub(crate) user: UserCaller,
}

impl SignedIn {
    /// Checks a token, wherever it came from, and counts the request.
    ///
    /// # Errors
    /// 401 for a token that is not good, 429 when the limit of signed-in requests is used up.
    pub(crate) async fn with(token: String, parts: &mut Parts, state: &Arc<State>) -> Result<Self, ApiError> {
        let user = state.upstream.gatekeeper.user_of_token(&token).await?;
        let Anonymous(anonymous) = Anonymous::from_request_parts(parts, state).await?;
        let keys = limits::keys_of(&user, anonymous.address);
        let Ok(shown) = Shown::from_request_parts(parts, state).await;
        limits::count(state, &shown, &state.config.limits.api, &keys).await?;
        Ok(Self { caller: Caller { token: Some(token), ..anonymous }, user })
    }

    /// # Errors
    /// 403 for everybody but operators.
    pub(crate) fn operator(self) -> Result<Self, ApiError> {
        self.user.require_admin()?;
        Ok(self)
    }
}

impl FromRequestParts<Arc<State>> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, ApiError> {
        let missing = || {
            Fault::new(
                Kind::Unauthenticated,
                "TOKEN_MISSING",
                "sign in first: send Authorization: Bearer <access token>",
            )
        };
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = header.and_then(|header| header.split_once(' ')).ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing().into());
        }
        Self::with(token.trim().to_owned(), parts, state).await
    }
}

/// A caller who need not be signed in.
pub(crate) struct Anonymous(pub(crate) Caller);

impl FromRequestParts<Arc<State>> for Anonymous {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, ApiError> {
        let agent = parts.headers.get("user-agent").and_then(|value| value.to_str().ok());
        Ok(Self(Caller {
            token: None,
            address: ClientAddress::of(parts, &state.config.trusted_proxies),
            user_agent: agent.unwrap_or_default().to_owned(),
        }))
    }
}
