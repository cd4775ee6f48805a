//! Around every request: its id, its span, one log line, one count, security headers, the shape of errors, and a body that
//! may be refused.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State as Extract};
use axum::http::header::{self, ACCEPT};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use quire_serve::call::{Call, REQUEST_ID};
use tokio::time::Instant;
use tracing::Instrument;

use crate::error::{ApiError, PROBLEM_JSON};
use crate::limits::Shown;
use crate::linger::lingering;
use crate::state::State;

pub(crate) async fn around(Extract(state): Extract<Arc<State>>, request: Request, next: Next) -> Response {
    let call = Call::from_headers(request.headers(), || state.world.id());
    let request_id = call.request_id.clone();
    let method = request.method().clone();
    // The template, never the path itself: paths hold ids.
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str).to_owned();
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let problem = accept.is_some_and(|accept| accept.contains(PROBLEM_JSON));
    let span = tracing::info_span!(
        "http",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = %method,
        http.route = %route,
        request_id = %request_id,
    );
    call.adopt(&span);
    let shown = Shown::default();
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(shown.clone());
    let body = lingering(body, &parts.headers);
    let request = Request::from_parts(parts, body);
    let started = Instant::now();
    let work = async {
        let mut answer = next.run(request).await;
        if problem && let Some(error) = answer.extensions_mut().remove::<ApiError>() {
            answer = error.problem(&request_id);
        }
        let took = started.elapsed();
        state.requests.answered(&route, &method, answer.status(), took);
        tracing::info!(status = answer.status().as_u16(), millis = took.as_millis(), "answered");
        answer
    };
    let mut answer = call.scope(work.instrument(span)).await;
    let headers = answer.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(HeaderName::from_static(REQUEST_ID), value);
    }
    shown.add_to(headers);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}
