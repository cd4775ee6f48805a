//! Sign-in, sessions and the audit log.

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use quire_proto::auth::v1 as pb;
use serde_json::{Value, json};

use crate::bearer::{Anonymous, SignedIn};
use crate::body::Body;
use crate::error::ApiResult;
use crate::limits;
use crate::pages::Parameters;
use crate::render;
use crate::state::Shared;
use crate::upstream;

pub(crate) async fn request_magic_link(
    state: Shared,
    Anonymous(caller): Anonymous,
    mut body: Body,
) -> ApiResult<impl IntoResponse> {
    let limit = &state.config.limits.magic_link;
    let headers = limits::count(&state, limit, &caller.address.limit_key()).await?;
    let email = body.required_text("email");
    body.finish()?;
    let request = state.upstream.quick(&caller, pb::RequestMagicLinkRequest { email });
    let answer = state.upstream.auth.clone().request_magic_link(request).await;
    let answer = answer.map_err(|status| body.blame(status))?.into_inner();
    let message = "if the address is right, a sign-in link is on its way";
    let body = json!({ "message": message, "expires_in": answer.expires_in_seconds });
    Ok((StatusCode::ACCEPTED, headers, Json(body)))
}

pub(crate) async fn verify_magic_link(
    state: Shared,
    Anonymous(caller): Anonymous,
    mut body: Body,
) -> ApiResult<impl IntoResponse> {
    let limit = &state.config.limits.verify;
    let headers = limits::count(&state, limit, &caller.address.limit_key()).await?;
    let token = body.required_text("token");
    body.finish()?;
    let request = state.upstream.quick(&caller, pb::VerifyMagicLinkRequest { token });
    let answer = state.upstream.auth.clone().verify_magic_link(request).await?.into_inner();
    let mut json = render::tokens(&answer.tokens.unwrap_or_default(), state.world.now());
    json["user"] = render::user(&answer.user.unwrap_or_default());
    Ok((headers, Json(json)))
}

pub(crate) async fn refresh(
    state: Shared,
    Anonymous(caller): Anonymous,
    mut body: Body,
) -> ApiResult<impl IntoResponse> {
    let limit = &state.config.limits.refresh;
    let headers = limits::count(&state, limit, &caller.address.limit_key()).await?;
    let refresh_token = body.required_text("refresh_token");
    body.finish()?;
    let request = state.upstream.quick(&caller, pb::RefreshSessionRequest { refresh_token });
    let answer = state.upstream.auth.clone().refresh_session(request).await?.into_inner();
    Ok((headers, Json(render::tokens(&answer.tokens.unwrap_or_default(), state.world.now()))))
}

pub(crate) async fn logout(state: Shared, SignedIn { caller, .. }: SignedIn) -> ApiResult<StatusCode> {
    let request = state.upstream.quick(&caller, pb::LogoutRequest {});
    state.upstream.auth.clone().logout(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn me(state: Shared, SignedIn { caller, .. }: SignedIn) -> ApiResult<impl IntoResponse> {
    let answer = upstream::read(|| async {
        let request = state.upstream.quick(&caller, pb::GetCurrentUserRequest {});
        state.upstream.auth.clone().get_current_user(request).await
    });
    let answer = answer.await?;
    let mut json = render::user(&answer.user.unwrap_or_default());
    json["session"] = render::session(&answer.session.unwrap_or_default());
    Ok(Json(json))
}

pub(crate) async fn sessions(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
) -> ApiResult<impl IntoResponse> {
    let answer = upstream::read(|| async {
        let request = state.upstream.quick(&caller, pb::ListSessionsRequest {});
        state.upstream.auth.clone().list_sessions(request).await
    });
    let sessions: Vec<_> = answer.await?.sessions.iter().map(render::session).collect();
    Ok(Json(json!({ "sessions": sessions })))
}

pub(crate) async fn audit(
    state: Shared,
    signed_in: SignedIn,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    audit_events(&state, &signed_in, &parameters, false).await
}

pub(crate) async fn audit_of_everybody(
    state: Shared,
    signed_in: SignedIn,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    audit_events(&state, &signed_in, &parameters, true).await
}

async fn audit_events(
    state: &Shared,
    signed_in: &SignedIn,
    parameters: &Parameters,
    everybody: bool,
) -> ApiResult<Json<Value>> {
    let (page_size, page_token) = parameters.page()?;
    let answer = upstream::read(|| async {
        let message = pb::ListAuditEventsRequest { page_size, page_token: page_token.clone(), everybody };
        let request = state.upstream.quick(&signed_in.caller, message);
        state.upstream.auth.clone().list_audit_events(request).await
    });
    let answer = answer.await.map_err(|status| parameters.blame(status))?;
    let events: Vec<_> = answer.events.iter().map(render::audit_event).collect();
    Ok(Json(json!({ "events": events, "next_page_token": answer.next_page_token })))
}
