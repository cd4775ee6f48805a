//! Customers ask for money back, operators decide.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use quire_fault::{Fault, Rule};
use quire_proto::payment::v1 as pb;
use serde_json::{Value, json};

use crate::bearer::SignedIn;
use crate::body::Body;
use crate::error::{ApiError, ApiResult};
use crate::idempotency::{self, IdempotencyKey};
use crate::limits::{self, Shown};
use crate::pages::Parameters;
use crate::render;
use crate::state::{Shared, State};
use crate::upstream;

/// The words for statuses in queries.
const STATUSES: [(&str, pb::RefundStatus); 5] = [
    ("requested", pb::RefundStatus::Requested),
    ("rejected", pb::RefundStatus::Rejected),
    ("pending", pb::RefundStatus::Pending),
    ("succeeded", pb::RefundStatus::Succeeded),
    ("failed", pb::RefundStatus::Failed),
];

pub(crate) async fn request(
    state: Shared,
    SignedIn { caller, user }: SignedIn,
    shown: Shown,
    key: IdempotencyKey,
    body: Result<Body, ApiError>,
) -> ApiResult<impl IntoResponse> {
    let keys = limits::keys_of(&user, caller.address);
    limits::count(&state, &shown, &state.config.limits.checkout, &keys).await?;
    let mut body = body?;
    let message = pb::RequestRefundRequest {
        order_id: body.required_text("order_id"),
        amount_minor: body.integer("amount_minor").map(i64::from),
        reason: body.required_text("reason"),
        idempotency_key: key.0.clone(),
    };
    body.finish()?;
    let answer = state.upstream.payment.clone().request_refund(state.upstream.quick(&caller, message)).await;
    let answer = answer.map_err(|status| key.blame(body.blame(status)))?;
    let headers = idempotency::replayed(answer.metadata());
    let refund = answer.into_inner().refund.unwrap_or_default();
    Ok((StatusCode::CREATED, headers, Json(render::payment::refund(&refund))))
}

pub(crate) async fn list(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    let (page_size, page_token) = parameters.page()?;
    let status = match parameters.text("status") {
        None => pb::RefundStatus::Unspecified,
        Some(text) => {
            let known = STATUSES.iter().find(|(word, _)| *word == text).map(|(_, status)| *status);
            let words = || STATUSES.iter().map(|(word, _)| (*word).to_owned()).collect();
            known.ok_or_else(|| parameters.blame(Fault::invalid_field("status", Rule::Enum(words()))))?
        }
    };
    let order_id = parameters.text("order_id").unwrap_or_default();
    let answer = upstream::read(|| async {
        let message = pb::ListRefundsRequest {
            page_size,
            page_token: page_token.clone(),
            order_id: order_id.to_owned(),
            status: status.into(),
        };
        state.upstream.payment.clone().list_refunds(state.upstream.quick(&caller, message)).await
    });
    let answer = answer.await.map_err(|status| parameters.blame(status))?;
    let refunds: Vec<Value> = answer.refunds.iter().map(render::payment::refund).collect();
    Ok(Json(json!({ "refunds": refunds, "next_page_token": answer.next_page_token })))
}

pub(crate) async fn approve(
    state: Shared,
    signed_in: SignedIn,
    Path(refund_id): Path<String>,
    note: Note,
) -> ApiResult<Json<Value>> {
    decide(&state, signed_in, (refund_id, true), note).await
}

pub(crate) async fn reject(
    state: Shared,
    signed_in: SignedIn,
    Path(refund_id): Path<String>,
    note: Note,
) -> ApiResult<Json<Value>> {
    decide(&state, signed_in, (refund_id, false), note).await
}

async fn decide(
    state: &State,
    signed_in: SignedIn,
    (refund_id, approve): (String, bool),
    Note(note): Note,
) -> ApiResult<Json<Value>> {
    let SignedIn { caller, .. } = signed_in.operator()?;
    let message = pb::DecideRefundRequest { refund_id, approve, note: note.clone() };
    let answer = state.upstream.payment.clone().decide_refund(state.upstream.quick(&caller, message)).await;
    let answer = answer.map_err(|status| ApiError::from(status).at("body", json!({ "note": note })))?;
    Ok(Json(render::payment::refund(&answer.into_inner().refund.unwrap_or_default())))
}

/// What the operator says about a decision; there need not be a body at all.
pub(crate) struct Note(String);

impl<S: Send + Sync> axum::extract::FromRequest<S> for Note {
    type Rejection = ApiError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, ApiError> {
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|_| {
            ApiError::http(
                StatusCode::BAD_REQUEST,
                "BODY_UNREADABLE",
                "the body could not be read to its end",
            )
        })?;
        if bytes.is_empty() {
            return Ok(Self(String::new()));
        }
        let mut body = Body::parse(&bytes)?;
        let note = body.text("note").unwrap_or_default();
        body.finish()?;
        Ok(Self(note))
    }
}
