//! Refunds that the provider does not make at once.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use quire_proto::payment::v1 as pb;
use quire_testkit::Backend;
use serde_json::json;
use tokio::net::TcpListener;

use crate::events::session_event;
use crate::ledger::{balance, balances, count};
use crate::settle::settle;
use crate::stage::Stage;

quire_testkit::on_both_databases!(a_refund_whose_key_is_used_up_goes_on_under_another);

/// The idempotency keys of the refunds that were asked for.
type Keys = Arc<Mutex<Vec<String>>>;

/// A provider that opens one session and refunds only at the fourth time.
async fn reluctant_provider(keys: Keys) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let session = Json(json!({ "id": "cs_1", "url": format!("{url}/cs_1"), "status": "open" }));
    let again = session.clone();
    let router = axum::Router::new()
        .route("/v1/checkout/sessions", post(|| async { session }))
        .route("/v1/checkout/sessions/{id}", get(|| async { again }))
        .route("/v1/refunds", post(refund).get(refunds))
        .with_state(keys);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn refund(State(keys): State<Keys>, headers: HeaderMap) -> axum::response::Response {
    let mut keys = keys.lock().unwrap();
    keys.push(headers["idempotency-key"].to_str().unwrap().to_owned());
    match keys.len() {
        // May pass: the same key again.
        1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        2 => {
            let failed = json!({ "id": "re_1", "status": "failed", "amount": 600, "currency": "eur", "payment_intent": "pi_1" });
            Json(failed).into_response()
        }
        // The provider had stored its own failure; the money went back all the same.
        3 => (StatusCode::INTERNAL_SERVER_ERROR, [("idempotent-replayed", "true")]).into_response(),
        _ => {
            let error =
                json!({ "error": { "type": "invalid_request_error", "code": "charge_already_refunded" } });
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        }
    }
}

/// All of it went back under the third key.
async fn refunds() -> Json<serde_json::Value> {
    let made = json!({ "id": "re_2", "amount": 600, "currency": "eur", "status": "succeeded", "payment_intent": "pi_1" });
    Json(json!({ "object": "list", "data": [made], "has_more": false }))
}

async fn a_refund_whose_key_is_used_up_goes_on_under_another(backend: Backend) {
    let keys = Keys::default();
    let provider = reluctant_provider(keys.clone()).await;
    let stage = Stage::with_settings(backend, &[("QUIRE_STRIPE_URL", &provider)]).await;
    let server = stage.start().await;
    let order = stage.checkout(&server.client, "document").await.unwrap();
    let event = session_event("evt_1", "checkout.session.completed", &order, json!({}));
    stage.deliver(&server.client, &event).await.unwrap();
    settle(&stage, &server.client, &order.id, pb::JobOutcome::Failed).await.unwrap();
    let refunded = |order: &pb::Order| order.status() == pb::OrderStatus::Refunded;
    stage.order_is(&server.client, &order.id, refunded).await;
    let first = format!("refund:{}", order.id);
    let expected = [first.clone(), first.clone(), format!("{first}:r1"), format!("{first}:r2")];
    assert_eq!(*keys.lock().unwrap(), expected);
    assert_eq!(count(&stage, "outbox WHERE kind = 'refund'").await, 1);
    assert_eq!(balances(&stage).await, vec![0]);
    assert_eq!(balance(&stage, "refunds_due").await, 0);
}
