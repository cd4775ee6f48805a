//! Rate limits: counted before a request reaches a service.

use axum::http::{HeaderMap, HeaderValue};
use quire_fault::{Fault, Kind};
use quire_limit::{Decision, RouteLimit};

use crate::error::{ApiError, ApiResult};
use crate::state::State;

/// Counts one request of `key`. The headers belong on the answer.
///
/// # Errors
/// 429 with `Retry-After` when the key has used up its quota.
pub(crate) async fn count(state: &State, route: &RouteLimit, key: &str) -> ApiResult<HeaderMap> {
    let decision = state.limiter.check(route, key).await;
    let headers = headers(route, &decision);
    if decision.allowed {
        return Ok(headers);
    }
    let message = format!("too many requests: the limit {} is used up", decision.policy);
    let fault = Fault::new(Kind::TooMany, "RATE_LIMITED", message).with_retry_after(decision.retry_after);
    Err(ApiError::from(fault).with_headers(headers))
}

/// `RateLimit` and `RateLimit-Policy` of the IETF draft "RateLimit header fields for HTTP".
fn headers(route: &RouteLimit, decision: &Decision) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let policies: Vec<String> = route
        .policies
        .iter()
        .map(|policy| format!("\"{}\";q={};w={}", policy.name, policy.quota, policy.window.as_secs()))
        .collect();
    let wait = if decision.allowed { decision.reset_after } else { decision.retry_after };
    let seconds = wait.as_millis().div_ceil(1000);
    let now = format!("\"{}\";r={};t={seconds}", decision.policy, decision.remaining);
    for (name, value) in [("ratelimit-policy", policies.join(", ")), ("ratelimit", now)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    headers
}
