//! Rate limits: counted before a request reaches a service.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use quire_fault::{Fault, Kind};
use quire_identity::UserCaller;
use quire_limit::{Decision, Keys, RouteLimit};

use crate::client_address::ClientAddress;
use crate::error::{ApiError, ApiResult};
use crate::state::State;

/// How much is left of the tightest limit.
pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The limits of the route.
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The headers of the limit that a request was counted against, on their way to its answer, whatever that will be:
/// whoever counts sees only the request.
#[derive(Clone, Default)]
pub(crate) struct Shown(Arc<Mutex<HeaderMap>>);

impl Shown {
    /// The last count stands: a route's own limit, if it has one, is the tighter one and is counted after the one of
    /// every signed-in request.
    fn set(&self, headers: HeaderMap) {
        *self.headers() = headers;
    }

    pub(crate) fn add_to(&self, answer: &mut HeaderMap) {
        answer.extend(std::mem::take(&mut *self.headers()));
    }

    fn headers(&self) -> MutexGuard<'_, HeaderMap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Shown {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// What a signed-in caller is counted under.
pub(crate) fn keys_of(user: &UserCaller, address: ClientAddress) -> Keys {
    Keys::default().user(&user.user_id).session(&user.session_id).address(address.limit_key())
}

/// Counts one request. Its answer will show how much is left.
///
/// # Errors
/// 429 with `Retry-After` when a policy of the route is used up.
pub(crate) async fn count(state: &State, shown: &Shown, route: &RouteLimit, keys: &Keys) -> ApiResult<()> {
    let decision = state.limiter.check(route, keys).await;
    for policy in &decision.shadowed {
        tracing::info!(policy, "a limit on trial would have refused this request");
    }
    shown.set(headers(route, &decision));
    if decision.allowed {
        return Ok(());
    }
    let what = match decision.violated.as_slice() {
        [one] => format!("the limit {one} is used up"),
        several => format!("the limits {} are used up", several.join(" and ")),
    };
    let fault = Fault::new(Kind::TooMany, "RATE_LIMITED", format!("too many requests: {what}"))
        .with_retry_after(decision.retry_after);
    Err(ApiError::from(fault).violating(decision.violated))
}

/// `RateLimit` and `RateLimit-Policy` of the IETF draft "RateLimit header fields for HTTP". Shadow policies are the
/// operator's business and not shown.
fn headers(route: &RouteLimit, decision: &Decision) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    let shown = route.policies.iter().filter(|policy| !policy.shadow);
    let shown =
        shown.map(|policy| format!("\"{}\";q={};w={}", policy.name, policy.quota, policy.window.as_secs()));
    let shown: Vec<String> = shown.collect();
    if !shown.is_empty() {
        add(RATE_LIMIT_POLICY, shown.join(", "));
    }
    // Zero: no policy applied to this call.
    if decision.limit > 0 {
        let wait = if decision.allowed { decision.reset_after } else { decision.retry_after };
        let seconds = wait.as_millis().div_ceil(1000);
        add(RATE_LIMIT, format!("\"{}\";r={};t={seconds}", decision.policy, decision.remaining));
    }
    headers
}
