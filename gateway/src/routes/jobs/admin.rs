//! Jobs, for operators: everybody's, what happened to one, which goes first, and what was given up.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use quire_proto::job::v1 as pb;
use serde_json::{Value, json};

use super::page;
use crate::bearer::SignedIn;
use crate::body::Body;
use crate::error::ApiResult;
use crate::pages::Parameters;
use crate::render;
use crate::state::Shared;
use crate::upstream;

pub(crate) async fn list(
    state: Shared,
    signed_in: SignedIn,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    let SignedIn { caller, .. } = signed_in.operator()?;
    let answer = page(&state, &caller, &parameters).await?;
    let jobs: Vec<Value> = answer.jobs.iter().map(render::job::of_anybody).collect();
    Ok(Json(json!({ "jobs": jobs, "next_page_token": answer.next_page_token })))
}

pub(crate) async fn read(
    state: Shared,
    signed_in: SignedIn,
    Path(job_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let SignedIn { caller, .. } = signed_in.operator()?;
    let answer = upstream::read(|| async {
        let request = state.upstream.quick(&caller, pb::GetJobTimelineRequest { job_id: job_id.clone() });
        state.upstream.job.clone().get_job_timeline(request).await
    });
    Ok(Json(render::job::timeline(&answer.await?)))
}

pub(crate) async fn retry(
    state: Shared,
    signed_in: SignedIn,
    Path(job_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let SignedIn { caller, .. } = signed_in.operator()?;
    let request = state.upstream.quick(&caller, pb::RetryJobRequest { job_id });
    let job = state.upstream.job.clone().retry_job(request).await?.into_inner().job.unwrap_or_default();
    let location = format!("/api/v1/jobs/{}", job.id);
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(render::job::of_anybody(&job))))
}

/// What a job comes to when it is written once more from its recorded calls.
pub(crate) async fn replay(
    state: Shared,
    signed_in: SignedIn,
    Path(job_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let SignedIn { caller, .. } = signed_in.operator()?;
    let request = state.upstream.slow(&caller, pb::ReplayJobRequest { job_id, with_markdown: false });
    let answer = state.upstream.job.clone().replay_job(request).await?.into_inner();
    Ok(Json(render::job::replay(&answer)))
}

pub(crate) async fn set_priority(
    state: Shared,
    signed_in: SignedIn,
    Path(job_id): Path<String>,
    mut body: Body,
) -> ApiResult<impl IntoResponse> {
    let SignedIn { caller, .. } = signed_in.operator()?;
    body.required("priority");
    let priority = body.integer("priority").unwrap_or_default();
    body.finish()?;
    let request = state.upstream.quick(&caller, pb::SetJobPriorityRequest { job_id, priority });
    let answer = state.upstream.job.clone().set_job_priority(request).await;
    let answer = answer.map_err(|status| body.blame(status))?.into_inner();
    Ok(Json(render::job::of_anybody(&answer.job.unwrap_or_default())))
}

pub(crate) async fn dead_letters(state: Shared, signed_in: SignedIn) -> ApiResult<impl IntoResponse> {
    let SignedIn { caller, .. } = signed_in.operator()?;
    let answer = upstream::read(|| async {
        let request = state.upstream.quick(&caller, pb::ListDeadLettersRequest {});
        state.upstream.job.clone().list_dead_letters(request).await
    });
    let letters: Vec<Value> = answer.await?.dead_letters.iter().map(render::job::dead_letter).collect();
    Ok(Json(json!({ "dead_letters": letters })))
}

pub(crate) async fn redrive(
    state: Shared,
    signed_in: SignedIn,
    Path((job_id, kind)): Path<(String, String)>,
) -> ApiResult<impl IntoResponse> {
    let SignedIn { caller, .. } = signed_in.operator()?;
    let request = state.upstream.quick(&caller, pb::RedriveDeadLetterRequest { job_id, kind });
    let answer = state.upstream.job.clone().redrive_dead_letter(request).await?.into_inner();
    Ok(Json(json!({ "redriven": answer.redriven })))
}
