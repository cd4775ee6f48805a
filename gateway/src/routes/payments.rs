//! Prices, checkout, orders, and the provider's webhook.

use axum::Json;
use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use quire_fault::{Fault, Kind};
use quire_identity::UserCaller;
use quire_proto::payment::v1 as pb;
use serde_json::json;

use crate::bearer::{Anonymous, SignedIn};
use crate::body::Body;
use crate::error::{ApiError, ApiResult};
use crate::idempotency::{self, IdempotencyKey};
use crate::limits::{self, Shown};
use crate::pages::Parameters;
use crate::render;
use crate::state::{Shared, State};
use crate::upstream::{self, Caller};

/// Tells the provider's log what became of an event.
const VERDICT: HeaderName = HeaderName::from_static("x-quire-verdict");

pub(crate) async fn current_price(
    state: Shared,
    Anonymous(caller): Anonymous,
) -> ApiResult<impl IntoResponse> {
    let answer = upstream::read(|| async {
        state
            .upstream
            .payment
            .clone()
            .get_pricing(state.upstream.quick(&caller, pb::GetPricingRequest {}))
            .await
    });
    let answer = answer.await?;
    Ok(Json(json!({
        "price_per_page": render::payment::money(answer.price_per_page.as_ref()),
        "min_pages": answer.min_pages,
        "max_pages": answer.max_pages,
    })))
}

pub(crate) async fn calculate_price(
    state: Shared,
    Anonymous(caller): Anonymous,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    let pages = parameters.integer("pages")?;
    let answer = upstream::read(|| async {
        let request = state.upstream.quick(&caller, pb::CalculatePriceRequest { pages });
        state.upstream.payment.clone().calculate_price(request).await
    });
    let answer = answer.await.map_err(|status| parameters.blame(status))?;
    Ok(Json(render::payment::quote(&answer)))
}

pub(crate) async fn create_checkout(
    state: Shared,
    SignedIn { caller, user }: SignedIn,
    shown: Shown,
    key: IdempotencyKey,
    body: Result<Body, ApiError>,
) -> ApiResult<impl IntoResponse> {
    let (body, document_id) = read_document_id(&state, (&caller, &user), &shown, body).await?;
    let message = pb::CreateCheckoutRequest { document_id, idempotency_key: key.0.clone() };
    let answer = state.upstream.payment.clone().create_checkout(state.upstream.slow(&caller, message)).await;
    let answer = answer.map_err(|status| key.blame(body.blame(status)))?;
    let headers = idempotency::replayed(answer.metadata());
    let order = answer.into_inner().order.unwrap_or_default();
    Ok((StatusCode::CREATED, headers, Json(render::payment::order(&order))))
}

pub(crate) async fn create_intent(
    state: Shared,
    SignedIn { caller, user }: SignedIn,
    shown: Shown,
    key: IdempotencyKey,
    body: Result<Body, ApiError>,
) -> ApiResult<impl IntoResponse> {
    let (body, document_id) = read_document_id(&state, (&caller, &user), &shown, body).await?;
    let message = pb::CreateIntentRequest { document_id, idempotency_key: key.0.clone() };
    let answer = state.upstream.payment.clone().create_intent(state.upstream.slow(&caller, message)).await;
    let answer = answer.map_err(|status| key.blame(body.blame(status)))?;
    let headers = idempotency::replayed(answer.metadata());
    let answer = answer.into_inner();
    let mut shown = render::payment::order(&answer.order.unwrap_or_default());
    shown["client_secret"] = json!(answer.client_secret);
    Ok((StatusCode::CREATED, headers, Json(shown)))
}

/// Counts a request for an order, and reads which document it is about.
async fn read_document_id(
    state: &State,
    (caller, user): (&Caller, &UserCaller),
    shown: &Shown,
    body: Result<Body, ApiError>,
) -> ApiResult<(Body, String)> {
    let keys = limits::keys_of(user, caller.address);
    limits::count(state, shown, &state.config.limits.checkout, &keys).await?;
    let mut body = body?;
    let document_id = body.required_text("document_id");
    body.finish()?;
    Ok((body, document_id))
}

pub(crate) async fn webhook(
    state: Shared,
    Anonymous(caller): Anonymous,
    headers: HeaderMap,
    payload: Result<Bytes, BytesRejection>,
) -> ApiResult<impl IntoResponse> {
    let payload = payload.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(Fault::new(
            Kind::TooLarge,
            "WEBHOOK_TOO_LARGE",
            "the event is larger than 1048576 bytes",
        )),
        status => ApiError::http(status, "BODY_UNREADABLE", "the body could not be read to its end"),
    })?;
    // A header that is not plain text is as good as a wrong one; the service says so.
    let signature =
        headers.get("stripe-signature").map(|value| value.to_str().unwrap_or_default().to_owned());
    let request =
        state.upstream.quick(&caller, pb::HandleWebhookRequest { payload: payload.into(), signature });
    let answer = state.upstream.payment.clone().handle_webhook(request).await?.into_inner();
    let verdict = render::payment::verdict(answer.verdict());
    let header = HeaderValue::from_str(&verdict).unwrap_or(HeaderValue::from_static(""));
    Ok(([(VERDICT, header)], Json(json!({ "received": true, "verdict": verdict, "reason": answer.reason }))))
}

pub(crate) async fn list_orders(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    let (page_size, page_token) = parameters.page()?;
    let answer = upstream::read(|| async {
        let message = pb::ListOrdersRequest { page_size, page_token: page_token.clone() };
        state.upstream.payment.clone().list_orders(state.upstream.quick(&caller, message)).await
    });
    let answer = answer.await.map_err(|status| parameters.blame(status))?;
    let orders: Vec<_> = answer.orders.iter().map(render::payment::order).collect();
    Ok(Json(json!({ "orders": orders, "next_page_token": answer.next_page_token })))
}

pub(crate) async fn read_order(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(order_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let answer = upstream::read(|| async {
        let message = pb::GetOrderRequest { order_id: order_id.clone() };
        state.upstream.payment.clone().get_order(state.upstream.quick(&caller, message)).await
    });
    Ok(Json(render::payment::order(&answer.await?.order.unwrap_or_default())))
}
