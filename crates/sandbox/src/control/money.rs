//! What banks and buyers decide about payments, refunds and disputes.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{MethodRouter, post};
use serde_json::Value;

use super::input::Input;
use super::{Shared, Shown};
use crate::bank::Decision;
use crate::desk::Desk;
use crate::disputes::{self, DisputeUpdate, NewDispute, Verdict};
use crate::provider::Provider;
use crate::refusal::Refusal;
use crate::{payments, refunds};

type Answer = Result<Shown<Value>, Refusal>;

pub(super) fn routes() -> Router<Arc<Provider>> {
    Router::new()
        .route("/sandbox/payment_intents/{id}/succeed", decides(payments::decide, Decision::Succeed))
        .route("/sandbox/payment_intents/{id}/fail", decides(payments::decide, Decision::Fail))
        .route("/sandbox/refunds/{id}/succeed", decides(refunds::decide, Decision::Succeed))
        .route("/sandbox/refunds/{id}/fail", decides(refunds::decide, Decision::Fail))
        .route("/sandbox/disputes", post(open_dispute))
        .route("/sandbox/disputes/{id}/update", post(update_dispute))
        .route("/sandbox/disputes/{id}/win", decides(disputes::close, Verdict::Won))
        .route("/sandbox/disputes/{id}/lose", decides(disputes::close, Verdict::Lost))
}

/// A route that decides about one object, and shows what it has become.
fn decides<D: Copy + Send + Sync + 'static>(
    decide: fn(&mut Desk<'_>, &str, D) -> Result<Value, Refusal>,
    decision: D,
) -> MethodRouter<Arc<Provider>> {
    post(async move |State(provider): Shared, Path(id): Path<String>| -> Answer {
        provider.command(|desk| decide(desk, &id, decision)).await.map(Shown)
    })
}

async fn open_dispute(State(provider): Shared, Input(new): Input<NewDispute>) -> Answer {
    provider.command(|desk| disputes::open(desk, &new)).await.map(Shown)
}

async fn update_dispute(
    State(provider): Shared,
    Path(id): Path<String>,
    Input(update): Input<DisputeUpdate>,
) -> Answer {
    provider.command(|desk| disputes::update(desk, &id, &update)).await.map(Shown)
}
