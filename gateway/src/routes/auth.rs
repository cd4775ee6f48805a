//! Sign-in: ask for a link, trade it or its code for tokens, renew them.
//!
//! A request is counted before its body is looked at, so that nobody can send rubbish without limit.

use axum::Json;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use quire_fault::{Fault, Rule};
use quire_limit::Keys;
use quire_proto::auth::v1 as pb;
use serde_json::json;

use crate::bearer::Anonymous;
use crate::body::Body;
use crate::cookie;
use crate::error::{ApiError, ApiResult};
use crate::limits::{self, Shown};
use crate::render;
use crate::state::Shared;

pub(crate) async fn request_magic_link(
    state: Shared,
    Anonymous(caller): Anonymous,
    headers: HeaderMap,
    shown: Shown,
    body: Result<Body, ApiError>,
) -> ApiResult<impl IntoResponse> {
    let keys = Keys::default().address(caller.address.limit_key());
    limits::count(&state, &shown, &state.config.limits.magic_link, &keys).await?;
    let mut body = body?;
    let email = body.required_text("email");
    // All outstanding links of one browser share its verifier, so that each of them works there.
    let verifier = body.text("verifier").or_else(|| cookie::verifier(&headers)).unwrap_or_default();
    body.finish()?;
    let request = state.upstream.quick(&caller, pb::RequestMagicLinkRequest { email, verifier });
    let answer = state.upstream.auth.clone().request_magic_link(request).await;
    let answer = answer.map_err(|status| body.blame(status))?.into_inner();
    let cookie = cookie::keep(&answer.verifier, answer.expires_in_seconds, state.config.https);
    let body = json!({
        "message": "if the address is right, a sign-in link is on its way",
        "expires_in": answer.expires_in_seconds,
        "verifier": answer.verifier,
    });
    Ok((StatusCode::ACCEPTED, [(SET_COOKIE, cookie)], Json(body)))
}

pub(crate) async fn verify_magic_link(
    state: Shared,
    Anonymous(caller): Anonymous,
    headers: HeaderMap,
    shown: Shown,
    body: Result<Body, ApiError>,
) -> ApiResult<impl IntoResponse> {
    let keys = Keys::default().address(caller.address.limit_key());
    limits::count(&state, &shown, &state.config.limits.verify, &keys).await?;
    let mut body = body?;
    let (token, code) = (body.text("token"), body.text("code"));
    let verifier = body.text("verifier").or_else(|| cookie::verifier(&headers)).unwrap_or_default();
    body.finish()?;
    let wrong = |field: &str, sentence: &str| {
        Err(body.blame(Fault::invalid_field(field, Rule::Value(sentence.to_owned()))))
    };
    let (token, code) = match (token, code) {
        (None, None) => return wrong("token", "send the token of the link, or the code of the same mail"),
        (Some(_), Some(_)) => return wrong("code", "send either a token or a code, not both"),
        (token, code) => (token.unwrap_or_default(), code.unwrap_or_default()),
    };
    let request = state.upstream.quick(&caller, pb::VerifyMagicLinkRequest { token, code, verifier });
    let answer = state.upstream.auth.clone().verify_magic_link(request).await?.into_inner();
    let mut json = render::auth::tokens(&answer.tokens.unwrap_or_default(), state.world.now());
    json["user"] = render::auth::user(&answer.user.unwrap_or_default());
    Ok(([(SET_COOKIE, cookie::forget(state.config.https))], Json(json)))
}

pub(crate) async fn refresh(
    state: Shared,
    Anonymous(caller): Anonymous,
    shown: Shown,
    body: Result<Body, ApiError>,
) -> ApiResult<impl IntoResponse> {
    let mut keys = Keys::default().address(caller.address.limit_key());
    let sent = body.map(|mut body| (body.required_text("refresh_token"), body));
    // Only a genuine token names a session: nobody uses up the quota of somebody else's.
    if let Ok((token, _)) = &sent
        && let Some(session) = state.upstream.gatekeeper.session_of_refresh(token).await
    {
        keys = keys.session(session);
    }
    limits::count(&state, &shown, &state.config.limits.refresh, &keys).await?;
    let (refresh_token, body) = sent?;
    body.finish()?;
    let request = state.upstream.quick(&caller, pb::RefreshSessionRequest { refresh_token });
    let answer = state.upstream.auth.clone().refresh_session(request).await?.into_inner();
    Ok(Json(render::auth::tokens(&answer.tokens.unwrap_or_default(), state.world.now())))
}
