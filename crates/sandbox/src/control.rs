//! The sandbox's own routes: how deliveries misbehave, and what was delivered.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::api::authenticate;
use crate::behaviour::{Behaviour, MAX_DUPLICATES};
use crate::provider::Provider;
use crate::refusal::Refusal;

type Shared = State<Arc<Provider>>;

/// The routes below `/sandbox`, which need an API key as those below `/v1` do, and the health check.
pub(crate) fn routes(provider: Arc<Provider>) -> Router<Arc<Provider>> {
    Router::new()
        .route("/sandbox/behaviour", get(behaviour).post(set_behaviour))
        .route("/sandbox/release", post(release))
        .route("/sandbox/deliveries", get(deliveries))
        .route_layer(middleware::from_fn_with_state(provider, require_key))
        .route("/livez", get(live))
}

/// For health checks; needs no key and says nothing.
async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn require_key(State(provider): Shared, request: Request, next: Next) -> Response {
    match authenticate(&provider.keys, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => answer(&refusal),
    }
}

async fn behaviour(State(provider): Shared) -> Json<Behaviour> {
    Json(provider.courier.behaviour())
}

/// Replaces the whole behaviour: what is not named is off.
async fn set_behaviour(State(provider): Shared, Json(behaviour): Json<Behaviour>) -> Response {
    if behaviour.duplicates > MAX_DUPLICATES {
        let message = "At most 100 duplicates are allowed.";
        return answer(&Refusal::parameter("parameter_invalid", "duplicates", message));
    }
    provider.courier.set_behaviour(behaviour.clone());
    Json(behaviour).into_response()
}

async fn release(State(provider): Shared) -> Json<Value> {
    Json(json!({ "released": provider.courier.release() }))
}

async fn deliveries(State(provider): Shared) -> Json<Value> {
    let undelivered = provider.store.peek(|data| data.undelivered.len());
    Json(json!({
        "attempts": provider.courier.attempts(),
        "undelivered": undelivered,
        "held": provider.courier.held(),
    }))
}

fn answer(refusal: &Refusal) -> Response {
    let status: StatusCode = refusal.status;
    (status, Json(refusal.body())).into_response()
}
