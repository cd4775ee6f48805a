//! The public keys of access tokens, for whoever wants to verify them without asking.

use axum::Json;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;

use crate::error::ApiResult;
use crate::render;
use crate::state::Shared;

/// A new key is published for longer than that before it signs.
const CACHED: &str = "public, max-age=600";

pub(crate) async fn keys(state: Shared) -> ApiResult<impl IntoResponse> {
    let keys = state.upstream.gatekeeper.keys().await?;
    Ok(([(CACHE_CONTROL, CACHED)], Json(render::auth::key_set(&keys))))
}
