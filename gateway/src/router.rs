//! The table of routes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{delete, get, patch, post, put};
use axum::{Extension, Router};
use quire_fault::{Fault, Kind};
use quire_serve::call::REQUEST_ID;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::body::{JsonLimit, MAX_JSON_BYTES};
use crate::error::{ApiError, REASON};
use crate::idempotency::{IDEMPOTENCY_KEY, REPLAYED};
use crate::limits::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::routes::{
    audit, auth, documents, exports, generate, health, jobs, jwks, limits, outlines, payments, reconcile,
    refunds, sessions, sign_in, sources, users,
};
use crate::state::State;

/// Providers send events of some kilobytes; more than this is no event.
const MAX_WEBHOOK_BYTES: usize = 1 << 20;
/// A thousand pages have six hundred sections, each with a title and a sentence.
const MAX_OUTLINE_BYTES: usize = 1 << 20;
/// A client that sends nothing for so long in the middle of a body is cut off.
const BODY_SILENCE: Duration = Duration::from_secs(30);
/// Boundaries and headers of a multipart form around the file itself.
const FORM_OVERHEAD: usize = 16 * 1024;

pub(crate) fn router(state: Arc<State>) -> Router {
    let uploads = DefaultBodyLimit::max(state.config.source_max_bytes + FORM_OVERHEAD);
    let api = Router::new()
        .route("/auth/magic-link", post(auth::request_magic_link))
        .route("/auth/verify-magic-link", post(auth::verify_magic_link))
        .route("/auth/refresh", post(auth::refresh))
        .route("/auth/logout", post(sessions::logout))
        .route("/auth/me", get(sessions::me))
        .route("/auth/sessions", get(sessions::list).delete(sessions::revoke_others))
        .route("/auth/sessions/{id}", patch(sessions::rename).delete(sessions::revoke))
        .route("/auth/audit", get(audit::own))
        .route("/admin/audit", get(audit::of_everybody))
        .route("/admin/users", get(users::list))
        .route("/admin/users/{id}/block", post(users::block))
        .route("/admin/users/{id}/unblock", post(users::unblock))
        .route("/admin/limits", get(limits::explain))
        .route("/documents", post(documents::create).get(documents::list))
        .route("/documents/{id}", get(documents::read).patch(documents::update).delete(documents::delete))
        .route(
            "/documents/{id}/outline",
            get(outlines::read)
                .put(outlines::change)
                .layer((DefaultBodyLimit::max(MAX_OUTLINE_BYTES), Extension(JsonLimit(MAX_OUTLINE_BYTES)))),
        )
        .route("/documents/{id}/outline/approve", post(outlines::approve))
        .route("/documents/{id}/sections", get(documents::sections))
        .route("/documents/{id}/sources", post(sources::upload).layer(uploads).get(sources::list))
        .route("/documents/{id}/sources/{source_id}", delete(sources::delete))
        .route("/documents/{id}/export/{format}", get(exports::download))
        .route("/pricing/current", get(payments::current_price))
        .route("/pricing/calculate", get(payments::calculate_price))
        .route("/payment/create-checkout", post(payments::create_checkout))
        .route("/payment/create-intent", post(payments::create_intent))
        .route("/payment/webhook", post(payments::webhook).layer(DefaultBodyLimit::max(MAX_WEBHOOK_BYTES)))
        .route("/payment/orders", get(payments::list_orders))
        .route("/payment/orders/{id}", get(payments::read_order))
        .route("/refunds", post(refunds::request).get(refunds::list))
        .route("/admin/refunds/{id}/approve", post(refunds::approve))
        .route("/admin/refunds/{id}/reject", post(refunds::reject))
        .route("/admin/payments/mismatches", get(reconcile::mismatches))
        .route("/admin/payments/reconcile", post(reconcile::reconcile))
        .route("/admin/dead-letters", get(reconcile::dead_letters))
        .route("/admin/dead-letters/{kind}/{id}/redrive", post(reconcile::redrive))
        .route("/generate/models", get(generate::models))
        .route("/generate/estimate-cost", get(generate::estimate_cost))
        .route("/generate/outline", post(jobs::generate_outline))
        .route("/generate/full-document", post(jobs::generate_full_document))
        .route("/generate/section", post(generate::section))
        .route("/jobs", get(jobs::list))
        .route("/jobs/{id}", get(jobs::read))
        .route("/jobs/{id}/status", get(jobs::read))
        .route("/jobs/{id}/events", get(jobs::events))
        .route("/jobs/ws/generation/{document_id}", get(jobs::socket::follow))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .route("/jobs/{id}/pause", post(jobs::pause))
        .route("/jobs/{id}/resume", post(jobs::resume))
        .route("/admin/jobs", get(jobs::admin::list))
        .route("/admin/jobs/{id}", get(jobs::admin::read))
        .route("/admin/jobs/{id}/replay", post(jobs::admin::replay))
        .route("/admin/jobs/{id}/retry", post(jobs::admin::retry))
        .route("/admin/jobs/{id}/priority", put(jobs::admin::set_priority))
        .route("/admin/job-dead-letters", get(jobs::admin::dead_letters))
        .route("/admin/job-dead-letters/{id}/{kind}/redrive", post(jobs::admin::redrive));
    Router::new()
        .nest("/api/v1", api)
        .route("/.well-known/jwks.json", get(jwks::keys))
        .route("/sign-in", get(sign_in::page))
        .route("/sign-in.js", get(sign_in::script))
        .route("/payment/success", get(sign_in::paid))
        .route("/payment/cancel", get(sign_in::cancelled))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_JSON_BYTES))
        .layer(RequestBodyTimeoutLayer::new(BODY_SILENCE))
        .layer(CatchPanicLayer::custom(|_| panicked().into_response()))
        .layer(cors(&state))
        .layer(from_fn_with_state(state.clone(), crate::middleware::around))
        .with_state(state)
}

/// No origin may read answers from a page unless it is listed. Those that are may send the sign-in cookie.
fn cors(state: &State) -> CorsLayer {
    let origins = state.config.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let origins: Vec<HeaderValue> = origins.collect();
    if origins.is_empty() {
        return CorsLayer::new();
    }
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            IDEMPOTENCY_KEY,
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
            RETRY_AFTER,
            REPLAYED,
            HeaderName::from_static(REQUEST_ID),
            HeaderName::from_static(REASON),
        ])
        .allow_credentials(true)
}

async fn method_not_allowed() -> ApiError {
    ApiError::http(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "Method Not Allowed")
}

async fn not_found() -> ApiError {
    ApiError::new(Fault::new(Kind::NotFound, "ROUTE_NOT_FOUND", "Not Found"))
}

fn panicked() -> ApiError {
    tracing::error!("a handler panicked");
    ApiError::new(Fault::internal())
}
