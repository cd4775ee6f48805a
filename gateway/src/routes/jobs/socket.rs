//! Following the job of a document over a WebSocket.
//!
//! A page cannot give a WebSocket an `Authorization` header, so the token may also come as a subprotocol:
//! `new WebSocket(url, ["quire.v1", "bearer." + token])`. It never comes in the query, which is logged everywhere.

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Path};
use axum::http::header::{AUTHORIZATION, ORIGIN, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use quire_fault::{Fault, Kind};
use quire_proto::job::v1 as pb;
use tracing::Instrument;

use super::cursor;
use crate::bearer::SignedIn;
use crate::error::{ApiError, ApiResult};
use crate::feed::Feed;
use crate::pages::Parameters;
use crate::socket::{self, MAX_MESSAGE_BYTES, PATIENCE};
use crate::state::{Shared, State};
use crate::upstream::{self, Caller};

/// The form of the messages; what the server answers to a client that names subprotocols.
const PROTOCOL: &str = "quire.v1";
/// What precedes a token that comes as a subprotocol.
const BEARER: &str = "bearer.";

/// The events of a document's newest job after `?after=`.
pub(crate) async fn follow(
    state: Shared,
    Knock { signed_in, upgrade }: Knock,
    Path(document_id): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let after_seq = cursor(&headers, &parameters)?;
    let job = newest(&state, &signed_in.caller, document_id).await?;
    let feed = Feed::open(&state, signed_in, &job, after_seq).await?;
    // Whoever shuts down waits for it: it belongs to no request any more.
    let token = state.sockets.token();
    let span = tracing::Span::current();
    Ok(upgrade.on_upgrade(move |socket| {
        async move {
            socket::tell(feed, socket, PATIENCE).await;
            drop(token);
        }
        .instrument(span)
    }))
}

/// A caller who may open a WebSocket.
pub(crate) struct Knock {
    signed_in: SignedIn,
    upgrade: WebSocketUpgrade,
}

impl FromRequestParts<Arc<State>> for Knock {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, ApiError> {
        check_origin(&parts.headers, state)?;
        let signed_in = match bearer(&parts.headers)? {
            Some(token) => SignedIn::with(token, parts, state).await?,
            None => SignedIn::from_request_parts(parts, state).await?,
        };
        let upgrade = WebSocketUpgrade::from_request_parts(parts, state).await;
        let upgrade = upgrade.map_err(|_| {
            let sentence = "this route speaks WebSocket, version 13, over HTTP/1.1";
            ApiError::http(StatusCode::UPGRADE_REQUIRED, "WEBSOCKET_REQUIRED", sentence)
                .with_headers(HeaderMap::from_iter([(UPGRADE, HeaderValue::from_static("websocket"))]))
        })?;
        let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES);
        Ok(Self { signed_in, upgrade: upgrade.protocols([PROTOCOL]) })
    }
}

/// Browsers let a page of any origin open a WebSocket, and say which it was. Other clients say nothing.
fn check_origin(headers: &HeaderMap, state: &State) -> ApiResult<()> {
    let config = &state.config;
    let Some(origin) = headers.get(ORIGIN).filter(|_| !config.cors_origins.is_empty()) else {
        return Ok(());
    };
    let listed = config.cors_origins.iter().chain([&config.public_origin]);
    if listed.into_iter().any(|listed| listed.as_bytes() == origin.as_bytes()) {
        return Ok(());
    }
    let sentence = "pages of this origin may not follow jobs: list it in QUIRE_CORS_ORIGINS";
    Err(Fault::new(Kind::Forbidden, "ORIGIN_REFUSED", sentence).into())
}

/// The token among the subprotocols; one in the `Authorization` header stands before it.
fn bearer(headers: &HeaderMap) -> ApiResult<Option<String>> {
    if headers.contains_key(AUTHORIZATION) {
        return Ok(None);
    }
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    let Some(token) = offered.iter().find_map(|offer| offer.strip_prefix(BEARER)) else {
        return Ok(None);
    };
    if !offered.contains(&PROTOCOL) {
        // The server must choose one of those that are offered, and would have to send the token back.
        let sentence = "beside `bearer.<token>` the subprotocol `quire.v1` must be offered";
        return Err(ApiError::http(StatusCode::BAD_REQUEST, "SUBPROTOCOL_MISSING", sentence));
    }
    Ok(Some(token.to_owned()))
}

/// # Errors
/// 404 if the caller sees no job of such a document: whether it is somebody else's is not told.
async fn newest(state: &State, caller: &Caller, document_id: String) -> ApiResult<pb::Job> {
    let message = pb::ListJobsRequest { page_size: 1, document_id, ..Default::default() };
    let answer = upstream::read(|| async {
        state.upstream.job.clone().list_jobs(state.upstream.quick(caller, message.clone())).await
    });
    let sentence = "no job of yours writes such a document: one starts when it is paid";
    let nothing = || Fault::new(Kind::NotFound, "JOB_NOT_FOUND", sentence);
    Ok(answer.await?.jobs.into_iter().next().ok_or_else(nothing)?)
}
