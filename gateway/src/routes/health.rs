//! Liveness and readiness for whoever runs the gateway.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::state::Shared;

const DEADLINE: Duration = Duration::from_secs(2);

/// The process answers; nothing else is checked, so that a dead database does not restart it.
pub(crate) async fn live() -> impl IntoResponse {
    Json(json!({ "status": "ok" }))
}

/// Whether every service behind the gateway is ready.
pub(crate) async fn ready(state: Shared) -> impl IntoResponse {
    let checks =
        state.upstream.channels.iter().map(|(name, channel)| async move { (*name, serving(channel).await) });
    let services: Vec<(&str, bool)> = futures::future::join_all(checks).await;
    let all = services.iter().all(|(_, serving)| *serving);
    let word = |serving: bool| if serving { "ok" } else { "unavailable" };
    let services: Map<String, Value> =
        services.into_iter().map(|(name, serving)| (name.to_owned(), json!(word(serving)))).collect();
    let status = if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "status": word(all), "services": services })))
}

async fn serving(channel: &Channel) -> bool {
    let request = quire_serve::client::outgoing(HealthCheckRequest::default(), DEADLINE);
    let check = async { HealthClient::new(channel.clone()).check(request).await };
    let answer = tokio::time::timeout(DEADLINE, check).await;
    matches!(answer, Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving)
}
