//! What may be ordered, and what it is expected to need; a section by itself.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use quire_fault::Fault;
use quire_proto::document::v1 as document;
use quire_proto::job::v1 as pb;
use quire_proto::payment::v1 as payment;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::jobs;
use crate::bearer::SignedIn;
use crate::body::Body;
use crate::error::ApiResult;
use crate::idempotency::{self, IdempotencyKey};
use crate::pages::Parameters;
use crate::render;
use crate::state::Shared;
use crate::upstream;

/// In the order in which violations of an ordered section are reported.
const SECTION_FIELDS: [&str; 5] = ["title", "topic", "language", "pages", "writer"];

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
    parameters.required(&["pages", "writer"])?;
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

/// A section by itself: a draft of one chapter with that many pages, and what it costs. It is paid, and written, like
/// any document. With a `document_id` it is the job of that document, which must be paid.
pub(crate) async fn section(
    state: Shared,
    signed: SignedIn,
    key: IdempotencyKey,
    mut body: Body,
) -> ApiResult<Response> {
    if body.has("document_id") {
        return Ok(jobs::generate_full_document(state, signed, body).await?.into_response());
    }
    let caller = &signed.caller;
    body.required("title");
    body.required("pages");
    let spec = document::DocumentSpec {
        title: body.text("title"),
        topic: body.text("topic"),
        language: body.text("language"),
        target_pages: body.integer("pages"),
        kind: Some(document::DocumentKind::Section.into()),
        writer: body.text("writer"),
        review_outline: None,
        fallback_writers: None,
    };
    let validate_only = !body.is_well_formed();
    let message =
        document::CreateDocumentRequest { spec: Some(spec), validate_only, idempotency_key: key.0.clone() };
    let documents = || state.upstream.document.clone();
    let created = documents().create_document(state.upstream.quick(caller, message)).await;
    let created = created.map_err(|status| key.blame(body.blame_with(in_pages(&status), &SECTION_FIELDS)))?;
    body.finish()?;
    let replayed = idempotency::replayed(created.metadata());
    let draft = created.into_inner().document.unwrap_or_default();
    let chapter = document::SetOutlineRequest {
        document_id: draft.id.clone(),
        chapter_titles: vec![draft.title.clone()],
        chapters: Vec::new(),
    };
    match documents().set_outline(state.upstream.quick(caller, chapter)).await {
        Ok(_) => {}
        // A repetition of what is paid since: it has its chapter.
        Err(status) if status.code() == Code::FailedPrecondition => {}
        Err(status) => return Err(body.blame(status)),
    }
    let pages = Some(draft.target_pages);
    let price = upstream::read(|| async {
        let request = state.upstream.quick(caller, payment::CalculatePriceRequest { pages });
        state.upstream.payment.clone().calculate_price(request).await
    });
    let quote = render::payment::quote(&price.await?);
    let location = format!("/api/v1/documents/{}", draft.id);
    let answer = json!({ "document": render::document(&draft), "quote": quote });
    Ok((StatusCode::CREATED, replayed, [(LOCATION, location)], Json(answer)).into_response())
}

/// The caller knows the field as `pages`.
fn in_pages(status: &Status) -> Fault {
    let mut fault = Fault::from(status);
    for violation in fault.violations.iter_mut().filter(|violation| violation.field == "target_pages") {
        "pages".clone_into(&mut violation.field);
    }
    fault
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
