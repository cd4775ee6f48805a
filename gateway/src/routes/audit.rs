//! The audit log: the caller's own part, and for operators all of it.

use axum::Json;
use axum::response::IntoResponse;
use quire_proto::auth::v1 as pb;
use serde_json::{Value, json};

use crate::bearer::SignedIn;
use crate::error::ApiResult;
use crate::pages::Parameters;
use crate::render;
use crate::state::Shared;
use crate::upstream;

pub(crate) async fn own(
    state: Shared,
    signed_in: SignedIn,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    events(&state, &signed_in, &parameters, false).await
}

pub(crate) async fn of_everybody(
    state: Shared,
    signed_in: SignedIn,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    events(&state, &signed_in, &parameters, true).await
}

/// Auth judges the filters, and who may look at whose events.
async fn events(
    state: &Shared,
    signed_in: &SignedIn,
    parameters: &Parameters,
    everybody: bool,
) -> ApiResult<Json<Value>> {
    let (page_size, page_token) = parameters.page()?;
    let text = |name: &str| parameters.text(name).unwrap_or_default().to_owned();
    let message = pb::ListAuditEventsRequest {
        page_size,
        page_token,
        everybody,
        user_id: text("user_id"),
        session_id: text("session_id"),
        action: text("action"),
        outcome: text("outcome"),
        reason: text("reason"),
        client_address: text("client_address"),
        request_id: text("request_id"),
        since: parameters.moment("since")?,
        until: parameters.moment("until")?,
    };
    let answer = upstream::read(|| async {
        let request = state.upstream.quick(&signed_in.caller, message.clone());
        state.upstream.auth.clone().list_audit_events(request).await
    });
    let answer = answer.await.map_err(|status| parameters.blame(status))?;
    let events: Vec<_> = answer.events.iter().map(render::auth::audit_event).collect();
    Ok(Json(json!({ "events": events, "next_page_token": answer.next_page_token })))
}
