//! The sandbox's own routes: how everything misbehaves, what was delivered, and what banks and buyers decide.

mod input;
mod money;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bank::Bank;
use crate::behaviour::Behaviour;
use crate::checkout::web_address;
use crate::exchange::{Access, authenticate};
use crate::faults::WriteFaults;
use crate::provider::Provider;
use crate::refusal::Refusal;
use crate::transit::Transit;

use self::input::Input;

type Shared = State<Arc<Provider>>;

/// What `GET /sandbox` tells those who forgot a name.
const ROUTES: [&str; 22] = [
    "GET /sandbox/behaviour",
    "POST /sandbox/behaviour",
    "GET /sandbox/transit",
    "POST /sandbox/transit",
    "GET /sandbox/faults",
    "POST /sandbox/faults",
    "GET /sandbox/bank",
    "POST /sandbox/bank",
    "GET /sandbox/webhook",
    "POST /sandbox/webhook",
    "POST /sandbox/secrets",
    "POST /sandbox/release",
    "GET /sandbox/deliveries",
    "POST /sandbox/events/{id}/resend",
    "POST /sandbox/payment_intents/{id}/succeed",
    "POST /sandbox/payment_intents/{id}/fail",
    "POST /sandbox/refunds/{id}/succeed",
    "POST /sandbox/refunds/{id}/fail",
    "POST /sandbox/disputes",
    "POST /sandbox/disputes/{id}/update",
    "POST /sandbox/disputes/{id}/win",
    "POST /sandbox/disputes/{id}/lose",
];

/// The routes below `/sandbox`, which need a secret key as those below `/v1` do, and the health check.
pub(crate) fn routes(provider: Arc<Provider>) -> Router<Arc<Provider>> {
    Router::new()
        .route("/sandbox", get(async || Shown(json!({ "routes": ROUTES }))))
        .route("/sandbox/behaviour", get(behaviour).post(set_behaviour))
        .route("/sandbox/transit", get(transit).post(set_transit))
        .route("/sandbox/faults", get(faults).post(set_faults))
        .route("/sandbox/bank", get(bank).post(set_bank))
        .route("/sandbox/webhook", get(webhook).post(set_webhook))
        .route("/sandbox/secrets", post(rotate_secrets))
        .route("/sandbox/release", post(release))
        .route("/sandbox/deliveries", get(deliveries))
        .route("/sandbox/events/{id}/resend", post(resend))
        .merge(money::routes())
        .route_layer(middleware::from_fn_with_state(provider, require_key))
        .route("/livez", get(live))
}

/// For health checks; needs no key and says nothing.
async fn live() -> Shown<Value> {
    Shown(json!({ "status": "ok" }))
}

async fn require_key(State(provider): Shared, request: Request, next: Next) -> Response {
    match authenticate(&provider.keys, request.headers(), Access::Merchant) {
        Ok(_) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn behaviour(State(provider): Shared) -> Shown<Behaviour> {
    Shown(provider.courier.behaviour())
}

/// Replaces the whole behaviour: what is not named is off.
async fn set_behaviour(
    State(provider): Shared,
    Input(behaviour): Input<Behaviour>,
) -> Result<Shown<Behaviour>, Refusal> {
    behaviour.check()?;
    provider.courier.set_behaviour(behaviour);
    Ok(Shown(provider.courier.behaviour()))
}

async fn transit(State(provider): Shared) -> Shown<Transit> {
    Shown(provider.courier.transit())
}

/// Replaces the whole transit: what is not named is off.
async fn set_transit(
    State(provider): Shared,
    Input(transit): Input<Transit>,
) -> Result<Shown<Transit>, Refusal> {
    transit.check()?;
    provider.courier.set_transit(transit);
    Ok(Shown(provider.courier.transit()))
}

/// The faults that are still to come.
async fn faults(State(provider): Shared) -> Shown<WriteFaults> {
    Shown(provider.faults.get())
}

/// Replaces the faults that were still to come.
async fn set_faults(State(provider): Shared, Input(faults): Input<WriteFaults>) -> Shown<WriteFaults> {
    provider.faults.set(faults);
    Shown(provider.faults.get())
}

async fn bank(State(provider): Shared) -> Shown<Bank> {
    Shown(provider.bank())
}

/// Replaces all that is set about the bank: what is not named is as by default.
async fn set_bank(State(provider): Shared, Input(bank): Input<Bank>) -> Shown<Bank> {
    provider.set_bank(bank);
    Shown(provider.bank())
}

/// The endpoint that events go to. What is absent stays.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Webhook {
    url: Option<String>,
    enabled: Option<bool>,
}

async fn webhook(State(provider): Shared) -> Shown<Value> {
    Shown(json!({
        "url": provider.courier.target(),
        "enabled": provider.courier.enabled(),
        "secrets": provider.courier.secrets(),
    }))
}

async fn set_webhook(
    State(provider): Shared,
    Input(endpoint): Input<Webhook>,
) -> Result<Shown<Value>, Refusal> {
    if let Some(url) = endpoint.url {
        web_address(&url, "url")?;
        provider.courier.set_target(url);
    }
    if let Some(enabled) = endpoint.enabled {
        provider.courier.set_enabled(enabled);
    }
    Ok(webhook(State(provider)).await)
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Rotation {
    secrets: Vec<String>,
    overlap_seconds: u32,
}

/// Answers how many secrets sign from now on, and never a secret.
async fn rotate_secrets(
    State(provider): Shared,
    Input(rotation): Input<Rotation>,
) -> Result<Shown<Value>, Refusal> {
    provider.courier.rotate(rotation.secrets, rotation.overlap_seconds)?;
    Ok(webhook(State(provider)).await)
}

async fn release(State(provider): Shared) -> Shown<Value> {
    Shown(json!({ "released": provider.courier.release() }))
}

async fn deliveries(State(provider): Shared) -> Shown<Value> {
    let (undelivered, given_up) = provider.store.peek(|data| {
        (data.undelivered.len(), data.events.rows().iter().filter(|event| event.given_up).count())
    });
    Shown(json!({
        "attempts": provider.courier.attempts(),
        "undelivered": undelivered,
        "held": provider.courier.held(),
        "given_up": given_up,
    }))
}

async fn resend(State(provider): Shared, Path(id): Path<String>) -> Result<Shown<Value>, Refusal> {
    provider.command(|desk| desk.resend(&id)).await?;
    Ok(Shown(json!({ "resent": id })))
}

/// Indented JSON, for people with curl.
struct Shown<T>(T);

impl<T: Serialize> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec_pretty(&self.0).expect("its types can be written as JSON");
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Shown(self.body())).into_response()
    }
}
