//! Users, for operators. Auth itself checks the role.

use axum::Json;
use axum::extract::Path;
use axum::response::IntoResponse;
use quire_proto::auth::v1 as pb;
use serde_json::json;

use crate::bearer::SignedIn;
use crate::error::ApiResult;
use crate::pages::Parameters;
use crate::render;
use crate::state::Shared;
use crate::upstream;

pub(crate) async fn list(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    let (page_size, page_token) = parameters.page()?;
    let email = parameters.text("email").unwrap_or_default().to_owned();
    let message = pb::ListUsersRequest { page_size, page_token, email };
    let answer = upstream::read(|| async {
        state.upstream.auth.clone().list_users(state.upstream.quick(&caller, message.clone())).await
    });
    let answer = answer.await.map_err(|status| parameters.blame(status))?;
    let users: Vec<_> = answer.users.iter().map(render::auth::user).collect();
    Ok(Json(json!({ "users": users, "next_page_token": answer.next_page_token })))
}

pub(crate) async fn block(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(user_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let request = state.upstream.quick(&caller, pb::BlockUserRequest { user_id });
    let answer = state.upstream.auth.clone().block_user(request).await?.into_inner();
    Ok(Json(render::auth::user(&answer.user.unwrap_or_default())))
}

pub(crate) async fn unblock(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(user_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let request = state.upstream.quick(&caller, pb::UnblockUserRequest { user_id });
    let answer = state.upstream.auth.clone().unblock_user(request).await?.into_inner();
    Ok(Json(render::auth::user(&answer.user.unwrap_or_default())))
}
