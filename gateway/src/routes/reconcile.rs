//! For operators: what does not agree, and what was given up.

use axum::Json;
use axum::extract::Path;
use axum::response::IntoResponse;
use quire_fault::{Fault, Rule};
use quire_proto::payment::v1 as pb;
use serde_json::{Value, json};

use crate::bearer::SignedIn;
use crate::error::ApiResult;
use crate::pages::Parameters;
use crate::render;
use crate::state::Shared;
use crate::upstream;

/// The most differences that one answer shows; the run mends the others too.
const MOST: usize = 10_000;

pub(crate) async fn mismatches(state: Shared, signed_in: SignedIn) -> ApiResult<impl IntoResponse> {
    let SignedIn { caller, .. } = signed_in.operator()?;
    let answer = upstream::read(|| async {
        let request = state.upstream.slow(&caller, pb::ListMismatchesRequest {});
        state.upstream.payment.clone().list_mismatches(request).await
    });
    let findings: Vec<Value> = answer.await?.findings.iter().map(render::payment::finding).collect();
    Ok(Json(json!({ "findings": findings })))
}

pub(crate) async fn reconcile(
    state: Shared,
    signed_in: SignedIn,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    let SignedIn { caller, .. } = signed_in.operator()?;
    let dry_run = match parameters.text("dry_run") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            let rule = Rule::Enum(vec!["true".to_owned(), "false".to_owned()]);
            return Err(parameters.blame(Fault::invalid_field("dry_run", rule)));
        }
    };
    let request = state.upstream.stream(&caller, pb::ReconcileRequest { dry_run });
    let mut told = state.upstream.payment.clone().reconcile(request).await?.into_inner();
    let mut findings = Vec::new();
    let mut count: usize = 0;
    while let Some(answer) = told.message().await? {
        count += 1;
        if findings.len() < MOST {
            findings.extend(answer.finding.as_ref().map(render::payment::finding));
        }
    }
    Ok(Json(json!({ "dry_run": dry_run, "count": count, "findings": findings })))
}

pub(crate) async fn dead_letters(state: Shared, signed_in: SignedIn) -> ApiResult<impl IntoResponse> {
    let SignedIn { caller, .. } = signed_in.operator()?;
    let answer = upstream::read(|| async {
        let request = state.upstream.quick(&caller, pb::ListDeadLettersRequest {});
        state.upstream.payment.clone().list_dead_letters(request).await
    });
    let letters: Vec<Value> = answer.await?.dead_letters.iter().map(render::payment::dead_letter).collect();
    Ok(Json(json!({ "dead_letters": letters })))
}

pub(crate) async fn redrive(
    state: Shared,
    signed_in: SignedIn,
    Path((kind, id)): Path<(String, String)>,
) -> ApiResult<impl IntoResponse> {
    let SignedIn { caller, .. } = signed_in.operator()?;
    let kind = match kind.as_str() {
        "event" => pb::DeadLetterKind::Event,
        "task" => pb::DeadLetterKind::Task,
        _ => {
            let rule = Rule::Enum(vec!["event".to_owned(), "task".to_owned()]);
            let sent = json!({ "kind": kind });
            return Err(crate::error::ApiError::new(Fault::invalid_field("kind", rule)).at("path", sent));
        }
    };
    let request = state.upstream.slow(&caller, pb::RedriveDeadLetterRequest { kind: kind.into(), id });
    let answer = state.upstream.payment.clone().redrive_dead_letter(request).await?.into_inner();
    Ok(Json(json!({ "redriven": answer.redriven })))
}
