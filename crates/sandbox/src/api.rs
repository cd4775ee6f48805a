//! The HTTP face of the API: who calls, which parameters, which answer.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::desk::{Desk, Origin, new_id};
use crate::form::{Params, pairs};
use crate::idempotency::fingerprint;
use crate::provider::{Keys, Provider};
use crate::record::Answer;
use crate::refusal::Refusal;
use crate::{checkout, events, refunds};

const MAX_BODY_BYTES: usize = 1024 * 1024;
const MAX_KEY_CHARS: usize = 255;
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const ORIGINAL_REQUEST: HeaderName = HeaderName::from_static("original-request");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

type Shared = State<Arc<Provider>>;

/// The routes below `/v1`.
pub(crate) fn routes() -> Router<Arc<Provider>> {
    Router::new()
        .route("/v1/checkout/sessions", post(create_session).get(list_sessions))
        .route("/v1/checkout/sessions/{id}", get(retrieve_session))
        .route("/v1/checkout/sessions/{id}/expire", post(expire_session))
        .route("/v1/payment_intents/{id}", get(retrieve_intent))
        .route("/v1/refunds", post(create_refund))
        .route("/v1/refunds/{id}", get(retrieve_refund))
        .route("/v1/events", get(list_events))
        .route("/v1/events/{id}", get(retrieve_event))
        .route("/v1/balance", get(balance))
}

/// The answer to an address that does not exist.
pub(crate) async fn unknown(State(provider): Shared, request: Request) -> Response {
    let message = format!("Unrecognized request URL ({}: {}).", request.method(), request.uri().path());
    let reply = Reply::from(Refusal::unreadable(StatusCode::NOT_FOUND, &message));
    reply.respond(&new_id(&provider.world, "req"))
}

/// Checks the API key, as a bearer token or as the user name of basic authentication.
pub(crate) fn authenticate(keys: &Keys, headers: &HeaderMap) -> Result<(), Refusal> {
    let presented = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, credentials) = value.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(credentials.trim().to_owned());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(BASE64_STANDARD.decode(credentials.trim()).ok()?).ok()?;
        decoded.split(':').next().map(str::to_owned)
    });
    match presented {
        None => Err(Refusal::unauthenticated("You did not provide an API key.")),
        Some(key) if keys.accept(&key) => Ok(()),
        Some(_) => Err(Refusal::unauthenticated("Invalid API Key provided.")),
    }
}

async fn create_session(State(provider): Shared, request: Request) -> Response {
    write(&provider, request, checkout::create).await
}

async fn list_sessions(State(provider): Shared, request: Request) -> Response {
    read(&provider, request, checkout::list).await
}

async fn retrieve_session(State(provider): Shared, Path(id): Path<String>, request: Request) -> Response {
    read(&provider, request, |desk, params| checkout::retrieve(desk, &id, params)).await
}

async fn expire_session(State(provider): Shared, Path(id): Path<String>, request: Request) -> Response {
    write(&provider, request, |desk, params| checkout::expire(desk, &id, params)).await
}

async fn retrieve_intent(State(provider): Shared, Path(id): Path<String>, request: Request) -> Response {
    read(&provider, request, |desk, params| checkout::retrieve_intent(desk, &id, params)).await
}

async fn create_refund(State(provider): Shared, request: Request) -> Response {
    write(&provider, request, refunds::create).await
}

async fn retrieve_refund(State(provider): Shared, Path(id): Path<String>, request: Request) -> Response {
    read(&provider, request, |desk, params| refunds::retrieve(desk, &id, params)).await
}

async fn list_events(State(provider): Shared, request: Request) -> Response {
    read(&provider, request, events::list).await
}

async fn retrieve_event(State(provider): Shared, Path(id): Path<String>, request: Request) -> Response {
    read(&provider, request, |desk, params| events::retrieve(desk, &id, params)).await
}

async fn balance(State(provider): Shared, request: Request) -> Response {
    read(&provider, request, refunds::balance).await
}

/// An answer before it becomes a response.
struct Reply {
    status: StatusCode,
    body: Value,
    /// The id of the request that was answered first, if this is a repetition.
    original: Option<String>,
}

impl Reply {
    fn respond(self, request_id: &str) -> Response {
        let body = serde_json::to_vec_pretty(&self.body).expect("a JSON value can be written");
        let mut response = (self.status, Body::from(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(request_id) = request_id.parse() {
            headers.insert(REQUEST_ID, request_id);
        }
        if let Some(original) = self.original.and_then(|id| id.parse().ok()) {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
            headers.insert(ORIGINAL_REQUEST, original);
        }
        response
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.status, body: refusal.body(), original: None }
    }
}

async fn read(
    provider: &Provider,
    request: Request,
    endpoint: impl FnOnce(&mut Desk<'_>, Params) -> Result<Value, Refusal>,
) -> Response {
    let request_id = new_id(&provider.world, "req");
    let reply = try_read(provider, &request_id, request, endpoint).await.unwrap_or_else(Reply::from);
    reply.respond(&request_id)
}

async fn try_read(
    provider: &Provider,
    request_id: &str,
    request: Request,
    endpoint: impl FnOnce(&mut Desk<'_>, Params) -> Result<Value, Refusal>,
) -> Result<Reply, Refusal> {
    authenticate(&provider.keys, request.headers())?;
    let params = Params::parse(&pairs(request.uri().query().unwrap_or_default().as_bytes()))?;
    let origin = Origin { request_id: Some(request_id.to_owned()), idempotency_key: None };
    let (result, saved) = provider.transact(&origin, |desk| endpoint(desk, params)).await;
    let body = result?;
    saved.map_err(|_| Refusal::not_saved())?;
    Ok(Reply { status: StatusCode::OK, body, original: None })
}

async fn write(
    provider: &Provider,
    request: Request,
    endpoint: impl FnOnce(&mut Desk<'_>, Params) -> Result<Value, Refusal>,
) -> Response {
    let request_id = new_id(&provider.world, "req");
    let reply = try_write(provider, &request_id, request, endpoint).await.unwrap_or_else(Reply::from);
    reply.respond(&request_id)
}

async fn try_write(
    provider: &Provider,
    request_id: &str,
    request: Request,
    endpoint: impl FnOnce(&mut Desk<'_>, Params) -> Result<Value, Refusal>,
) -> Result<Reply, Refusal> {
    let (parts, body) = request.into_parts();
    authenticate(&provider.keys, &parts.headers)?;
    let key = idempotency_key(&parts)?;
    // Taken before the body is read, and held until the answer is on disk.
    let _claim = key.as_deref().map(|key| provider.running.claim(key)).transpose()?;
    let body = to_bytes(body, MAX_BODY_BYTES).await;
    let body =
        body.map_err(|_| Refusal::unreadable(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."))?;
    let pairs = pairs(&body);
    let fingerprint = fingerprint(parts.uri.path(), &pairs);
    let origin = Origin { request_id: Some(request_id.to_owned()), idempotency_key: key.clone() };
    let (reply, saved) = provider
        .transact(&origin, |desk| {
            let Some(key) = key else {
                return Params::parse(&pairs).and_then(|params| endpoint(desk, params)).map(Reply::ok);
            };
            desk.forget_old();
            if let Some(answer) = desk.data().answers.get(&key) {
                return replay(answer, &fingerprint);
            }
            let result = Params::parse(&pairs).and_then(|params| endpoint(desk, params));
            let (status, body, executed) = match result {
                Ok(body) => (StatusCode::OK, body, true),
                Err(refusal) => (refusal.status, refusal.body(), refusal.executed),
            };
            if executed {
                // In the same transaction as the effect: after a crash both are there or neither is.
                let answer = Answer {
                    created: desk.now,
                    fingerprint,
                    request_id: request_id.to_owned(),
                    status: status.as_u16(),
                    body: body.clone(),
                };
                desk.edit().answers.insert(key, answer);
            }
            Ok(Reply { status, body, original: None })
        })
        .await;
    let reply = reply?;
    saved.map_err(|_| Refusal::not_saved())?;
    Ok(reply)
}

impl Reply {
    fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body, original: None }
    }
}

fn replay(answer: &Answer, fingerprint: &str) -> Result<Reply, Refusal> {
    if answer.fingerprint != fingerprint {
        return Err(Refusal::other_parameters());
    }
    Ok(Reply {
        status: StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK),
        body: answer.body.clone(),
        original: Some(answer.request_id.clone()),
    })
}

fn idempotency_key(parts: &Parts) -> Result<Option<String>, Refusal> {
    let Some(value) = parts.headers.get("idempotency-key") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if key.chars().count() <= MAX_KEY_CHARS && !key.is_empty() => Ok(Some(key.to_owned())),
        _ => Err(Refusal::unreadable(
            StatusCode::BAD_REQUEST,
            "The idempotency key must have 1 to 255 plain characters.",
        )),
    }
}
