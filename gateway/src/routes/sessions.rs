//! The caller and the caller's sessions.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use quire_proto::auth::v1 as pb;
use serde_json::json;

use crate::bearer::SignedIn;
use crate::body::Body;
use crate::error::ApiResult;
use crate::render;
use crate::state::Shared;
use crate::upstream;

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
    let mut json = render::auth::user(&answer.user.unwrap_or_default());
    json["session"] = render::auth::session(&answer.session.unwrap_or_default());
    Ok(Json(json))
}

pub(crate) async fn list(state: Shared, SignedIn { caller, .. }: SignedIn) -> ApiResult<impl IntoResponse> {
    let answer = upstream::read(|| async {
        let request = state.upstream.quick(&caller, pb::ListSessionsRequest {});
        state.upstream.auth.clone().list_sessions(request).await
    });
    let sessions: Vec<_> = answer.await?.sessions.iter().map(render::auth::session).collect();
    Ok(Json(json!({ "sessions": sessions })))
}

pub(crate) async fn rename(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(session_id): Path<String>,
    mut body: Body,
) -> ApiResult<impl IntoResponse> {
    let name = body.required_text("name");
    body.finish()?;
    let request = state.upstream.quick(&caller, pb::RenameSessionRequest { session_id, name });
    let answer = state.upstream.auth.clone().rename_session(request).await;
    let answer = answer.map_err(|status| body.blame(status))?.into_inner();
    Ok(Json(render::auth::session(&answer.session.unwrap_or_default())))
}

pub(crate) async fn revoke(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(session_id): Path<String>,
) -> ApiResult<StatusCode> {
    let request = state.upstream.quick(&caller, pb::RevokeSessionRequest { session_id });
    state.upstream.auth.clone().revoke_session(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn revoke_others(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
) -> ApiResult<impl IntoResponse> {
    let request = state.upstream.quick(&caller, pb::RevokeOtherSessionsRequest {});
    let answer = state.upstream.auth.clone().revoke_other_sessions(request).await?.into_inner();
    Ok(Json(json!({ "revoked": answer.revoked })))
}
