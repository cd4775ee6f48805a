//! The routes of the API.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderName, Method, StatusCode};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use serde_json::Value;
use tower_http::cors::{Any, CorsLayer};

use crate::desk::Desk;
use crate::exchange::{self, Access, IDEMPOTENCY_KEY, ORIGINAL_REQUEST, REPLAYED, REQUEST_ID};
use crate::form::Params;
use crate::provider::Provider;
use crate::refusal::Refusal;
use crate::{balance, charges, checkout, disputes, events, intents, refunds};

const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");

type Shared = State<Arc<Provider>>;
type Routes = MethodRouter<Arc<Provider>>;

/// What a route does: of a kind of object, or of one of them.
type Endpoint = fn(&mut Desk<'_>, Params) -> Result<Value, Refusal>;
type EndpointOfOne = fn(&mut Desk<'_>, &str, Params) -> Result<Value, Refusal>;

/// The routes below `/v1`. Pages of any origin may call them: whoever has a key may use it from a page.
pub(crate) fn routes() -> Router<Arc<Provider>> {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, IDEMPOTENCY_KEY, STRIPE_VERSION])
        .expose_headers([REQUEST_ID, ORIGINAL_REQUEST, REPLAYED]);
    Router::new()
        .route("/v1/checkout/sessions", reads(checkout::list).merge(writes(checkout::create)))
        .route("/v1/checkout/sessions/{id}", reads_one(checkout::retrieve))
        .route("/v1/checkout/sessions/{id}/expire", writes_one(checkout::expire))
        .route("/v1/payment_intents", reads(intents::list).merge(writes(intents::create)))
        .route(
            "/v1/payment_intents/{id}",
            reads_one_for(Access::Everyone, intents::retrieve).merge(writes_one(intents::update)),
        )
        .route("/v1/payment_intents/{id}/confirm", writes_one_for(Access::Everyone, intents::confirm))
        .route("/v1/payment_intents/{id}/cancel", writes_one(intents::cancel))
        .route("/v1/charges", reads(charges::list))
        .route("/v1/charges/{id}", reads_one(charges::retrieve))
        .route("/v1/refunds", reads(refunds::list).merge(writes(refunds::create)))
        .route("/v1/refunds/{id}", reads_one(refunds::retrieve).merge(writes_one(refunds::update)))
        .route("/v1/refunds/{id}/cancel", writes_one(refunds::cancel))
        .route("/v1/disputes", reads(disputes::list))
        .route("/v1/disputes/{id}", reads_one(disputes::retrieve))
        .route("/v1/disputes/{id}/close", writes_one(disputes::concede))
        .route("/v1/events", reads(events::list))
        .route("/v1/events/{id}", reads_one(events::retrieve))
        .route("/v1/balance", reads(balance::retrieve))
        // Below the layer, which answers what browsers ask before they send a request.
        .method_not_allowed_fallback(unknown)
        .layer(cors)
}

/// The answer to an address that does not exist.
pub(crate) async fn unknown(State(provider): Shared, request: Request) -> Response {
    let message = format!("Unrecognized request URL ({}: {}).", request.method(), request.uri().path());
    exchange::refuse(&provider, Refusal::unreadable(StatusCode::NOT_FOUND, &message))
}

fn reads(endpoint: Endpoint) -> Routes {
    get(move |State(provider): Shared, request: Request| async move {
        exchange::read(&provider, Access::Merchant, request, endpoint).await
    })
}

fn writes(endpoint: Endpoint) -> Routes {
    post(move |State(provider): Shared, request: Request| async move {
        exchange::write(&provider, Access::Merchant, request, endpoint).await
    })
}

fn reads_one(endpoint: EndpointOfOne) -> Routes {
    reads_one_for(Access::Merchant, endpoint)
}

fn writes_one(endpoint: EndpointOfOne) -> Routes {
    writes_one_for(Access::Merchant, endpoint)
}

fn reads_one_for(access: Access, endpoint: EndpointOfOne) -> Routes {
    get(move |State(provider): Shared, Path(id): Path<String>, request: Request| async move {
        exchange::read(&provider, access, request, |desk, params| endpoint(desk, &id, params)).await
    })
}

fn writes_one_for(access: Access, endpoint: EndpointOfOne) -> Routes {
    post(move |State(provider): Shared, Path(id): Path<String>, request: Request| async move {
        exchange::write(&provider, access, request, |desk, params| endpoint(desk, &id, params)).await
    })
}
