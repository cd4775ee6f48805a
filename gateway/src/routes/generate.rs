//! What may be ordered, and what it is expected to need.

use axum::Json;
use axum::response::IntoResponse;
use quire_proto::job::v1 as pb;
use serde_json::{Value, json};

use crate::bearer::SignedIn;
use crate::error::ApiResult;
use crate::pages::Parameters;
use crate::state::Shared;
use crate::upstream;

pub(crate) async fn models(state: Shared, SignedIn { caller, .. }: SignedIn) -> ApiResult<impl IntoResponse> {
    let answer = upstream::read(|| async {
        let request = state.upstream.quick(&caller, pb::ListModelsRequest {});
        state.upstream.job.clone().list_models(request).await
    });
    let models: Vec<Value> = answer.await?.models.iter().map(model).collect();
    Ok(Json(json!({ "models": models })))
}

pub(crate) async fn estimate_cost(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    let pages = parameters.integer("pages")?.unwrap_or_default();
    let writer = parameters.text("writer").unwrap_or_default();
    let answer = upstream::read(|| async {
        let message = pb::EstimateCostRequest { pages, writer: writer.to_owned() };
        state.upstream.job.clone().estimate_cost(state.upstream.quick(&caller, message)).await
    });
    let answer = answer.await.map_err(|status| parameters.blame(status))?;
    let mut estimate = model(&answer.model.unwrap_or_default());
    estimate["pages"] = json!(answer.pages);
    estimate["input_tokens"] = json!(answer.input_tokens);
    estimate["output_tokens"] = json!(answer.output_tokens);
    estimate["cost_micro_usd"] = json!(answer.cost_micro);
    estimate["measured_jobs"] = json!(answer.measured_jobs);
    Ok(Json(estimate))
}

/// Prices are millionths of a US dollar for a million tokens; null when nobody said what the model costs.
fn model(model: &pb::WriterModel) -> Value {
    let price = model
        .price
        .as_ref()
        .map(|price| json!({ "input_micro_usd": price.input_micro, "output_micro_usd": price.output_micro }));
    let name = (!model.model.is_empty()).then_some(&model.model);
    json!({ "writer": model.writer, "model": name, "price": price })
}
