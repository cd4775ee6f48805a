//! One request and its answer: who calls, with which parameters, under which idempotency key.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::desk::{Desk, Origin, new_id};
use crate::faults::{WriteFault, hang_up};
use crate::form::{Params, pairs};
use crate::idempotency::fingerprint;
use crate::provider::{Caller, Keys, Provider};
use crate::record::Answer;
use crate::refusal::Refusal;

const MAX_BODY_BYTES: usize = 1024 * 1024;
const MAX_KEY_CHARS: usize = 255;
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
pub(crate) const ORIGINAL_REQUEST: HeaderName = HeaderName::from_static("original-request");
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Who may call an endpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Merchant,
    /// Anyone with the publishable key, too. The endpoint looks after what it shows.
    Everyone,
}

/// An answer before it becomes a response.
struct Reply {
    status: StatusCode,
    body: Value,
    /// The id of the request that was answered first, if this is a repetition.
    original: Option<String>,
}

/// What becomes of a write.
enum Outcome {
    Answered(Reply),
    /// The answer is lost on the way.
    Lost,
    /// There is no answer.
    Silent,
}

/// The answer to a request that no endpoint takes.
pub(crate) fn refuse(provider: &Provider, refusal: Refusal) -> Response {
    Reply::from(refusal).respond(&new_id(&provider.world, "req"))
}

/// Checks the API key, as a bearer token or as the user name of basic authentication.
pub(crate) fn authenticate(keys: &Keys, headers: &HeaderMap, access: Access) -> Result<Caller, Refusal> {
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
    let presented = presented.ok_or_else(|| Refusal::unauthenticated("You did not provide an API key."))?;
    match keys.holder(&presented) {
        Some(Caller::Browser) if access == Access::Merchant => Err(Refusal::secret_key_required()),
        Some(caller) => Ok(caller),
        None => Err(Refusal::unauthenticated("Invalid API Key provided.")),
    }
}

/// Carries out a GET request.
pub(crate) async fn read(
    provider: &Provider,
    access: Access,
    request: Request,
    endpoint: impl FnOnce(&mut Desk<'_>, Params) -> Result<Value, Refusal>,
) -> Response {
    let request_id = new_id(&provider.world, "req");
    let reply = try_read(provider, access, &request_id, request, endpoint).await.unwrap_or_else(Reply::from);
    reply.respond(&request_id)
}

async fn try_read(
    provider: &Provider,
    access: Access,
    request_id: &str,
    request: Request,
    endpoint: impl FnOnce(&mut Desk<'_>, Params) -> Result<Value, Refusal>,
) -> Result<Reply, Refusal> {
    let caller = authenticate(&provider.keys, request.headers(), access)?;
    let params = Params::parse(&pairs(request.uri().query().unwrap_or_default().as_bytes()))?;
    let origin = origin(request_id, None, caller);
    let (result, saved) = provider.transact(&origin, |desk| endpoint(desk, params)).await;
    let body = result?;
    saved.map_err(|_| Refusal::not_saved())?;
    Ok(Reply { status: StatusCode::OK, body, original: None })
}

/// Carries out a POST request, once per idempotency key.
pub(crate) async fn write(
    provider: &Provider,
    access: Access,
    request: Request,
    endpoint: impl FnOnce(&mut Desk<'_>, Params) -> Result<Value, Refusal>,
) -> Response {
    let request_id = new_id(&provider.world, "req");
    match try_write(provider, access, &request_id, request, endpoint).await {
        Ok(Outcome::Answered(reply)) => reply.respond(&request_id),
        Ok(Outcome::Lost | Outcome::Silent) => hang_up(),
        Err(refusal) => Reply::from(refusal).respond(&request_id),
    }
}

async fn try_write(
    provider: &Provider,
    access: Access,
    request_id: &str,
    request: Request,
    endpoint: impl FnOnce(&mut Desk<'_>, Params) -> Result<Value, Refusal>,
) -> Result<Outcome, Refusal> {
    let (parts, body) = request.into_parts();
    let caller = authenticate(&provider.keys, &parts.headers, access)?;
    let key = idempotency_key(&parts)?;
    // Taken before the body is read, and held until the answer is on disk.
    let _claim = key.as_deref().map(|key| provider.running.claim(key)).transpose()?;
    let body = to_bytes(body, MAX_BODY_BYTES).await;
    let body =
        body.map_err(|_| Refusal::unreadable(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."))?;
    let pairs = pairs(&body);
    let path = parts.uri.path();
    // What a merchant was answered is not repeated to a browser.
    let scope = match caller {
        Caller::Merchant => path.to_owned(),
        Caller::Browser => format!("{path} from a browser"),
    };
    let fingerprint = fingerprint(&scope, &pairs);
    let origin = origin(request_id, key.clone(), caller);
    let (outcome, saved) = provider
        .transact(&origin, |desk| {
            if key.is_some() {
                desk.forget_old();
            }
            if let Some(answer) = key.as_ref().and_then(|key| desk.data().answers.get(key)) {
                return replay(answer, &fingerprint).map(Outcome::Answered);
            }
            let fault = provider.faults.draw(path);
            let result = match fault {
                Some(WriteFault::NoAnswer) => return Ok(Outcome::Silent),
                Some(WriteFault::StoredError) => Err(Refusal::stored_error()),
                Some(WriteFault::LostAnswer) | None => {
                    Params::parse(&pairs).and_then(|params| endpoint(desk, params))
                }
            };
            let (reply, executed) = match result {
                Ok(body) => (Reply { status: StatusCode::OK, body, original: None }, true),
                Err(refusal) => {
                    (Reply { status: refusal.status, body: refusal.body(), original: None }, refusal.executed)
                }
            };
            if let Some(key) = key.filter(|_| executed) {
                // In the same transaction as the effect: after a crash both are there or neither is.
                let answer = Answer {
                    created: desk.now,
                    fingerprint,
                    request_id: request_id.to_owned(),
                    status: reply.status.as_u16(),
                    body: reply.body.clone(),
                };
                desk.edit().answers.insert(key, answer);
            }
            Ok(if fault == Some(WriteFault::LostAnswer) { Outcome::Lost } else { Outcome::Answered(reply) })
        })
        .await;
    let outcome = outcome?;
    saved.map_err(|_| Refusal::not_saved())?;
    if matches!(outcome, Outcome::Silent) {
        // Until then the caller has hung up, which ends this too. The key stays in use meanwhile.
        provider.shutdown.cancelled().await;
    }
    Ok(outcome)
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

fn origin(request_id: &str, idempotency_key: Option<String>, caller: Caller) -> Origin {
    Origin { request_id: Some(request_id.to_owned()), idempotency_key, browser: caller == Caller::Browser }
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
    let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else {
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
