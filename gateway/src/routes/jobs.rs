//! Jobs: start, read, list, pause, cancel, and follow.

pub(crate) mod admin;
pub(crate) mod socket;

use axum::Json;
use axum::extract::Path;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use quire_fault::{Fault, Rule};
use quire_proto::job::v1 as pb;
use serde_json::json;

use crate::bearer::SignedIn;
use crate::body::Body;
use crate::error::{ApiError, ApiResult};
use crate::feed::{Feed, ending};
use crate::pages::Parameters;
use crate::render;
use crate::sse;
use crate::state::{Shared, State};
use crate::upstream::{self, Caller};

/// The words for statuses in queries.
const STATUSES: [(&str, pb::JobStatus); 6] = [
    ("queued", pb::JobStatus::Queued),
    ("running", pb::JobStatus::Running),
    ("paused", pb::JobStatus::Paused),
    ("completed", pb::JobStatus::Completed),
    ("failed", pb::JobStatus::Failed),
    ("cancelled", pb::JobStatus::Cancelled),
];

pub(crate) async fn generate_full_document(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    mut body: Body,
) -> ApiResult<impl IntoResponse> {
    let document_id = body.required_text("document_id");
    body.finish()?;
    let request = state.upstream.quick(&caller, pb::GenerateFullDocumentRequest { document_id });
    let answer = state.upstream.job.clone().generate_full_document(request).await;
    let job = answer.map_err(|status| body.blame(status))?.into_inner().job.unwrap_or_default();
    Ok(accepted(&job))
}

pub(crate) async fn generate_outline(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    mut body: Body,
) -> ApiResult<impl IntoResponse> {
    let document_id = body.required_text("document_id");
    body.finish()?;
    let request = state.upstream.quick(&caller, pb::GenerateOutlineRequest { document_id });
    let answer = state.upstream.job.clone().generate_outline(request).await;
    let job = answer.map_err(|status| body.blame(status))?.into_inner().job.unwrap_or_default();
    Ok(accepted(&job))
}

/// The job that was asked for, and where to follow it.
fn accepted(job: &pb::Job) -> impl IntoResponse + use<> {
    let location = format!("/api/v1/jobs/{}", job.id);
    (StatusCode::ACCEPTED, [(LOCATION, location)], Json(render::job::job(job)))
}

pub(crate) async fn list(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    let answer = page(&state, &caller, &parameters).await?;
    let jobs: Vec<_> = answer.jobs.iter().map(render::job::job).collect();
    Ok(Json(json!({ "jobs": jobs, "next_page_token": answer.next_page_token })))
}

pub(crate) async fn read(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(job_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    Ok(Json(render::job::job(&find(&state, &caller, &job_id).await?)))
}

pub(crate) async fn cancel(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(job_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let request = state.upstream.quick(&caller, pb::CancelJobRequest { job_id });
    let answer = state.upstream.job.clone().cancel_job(request).await?.into_inner();
    Ok(Json(render::job::job(&answer.job.unwrap_or_default())))
}

pub(crate) async fn pause(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(job_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let request = state.upstream.quick(&caller, pb::PauseJobRequest { job_id });
    let answer = state.upstream.job.clone().pause_job(request).await?.into_inner();
    Ok(Json(render::job::job(&answer.job.unwrap_or_default())))
}

pub(crate) async fn resume(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(job_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let request = state.upstream.quick(&caller, pb::ResumeJobRequest { job_id });
    let answer = state.upstream.job.clone().resume_job(request).await?.into_inner();
    Ok(Json(render::job::job(&answer.job.unwrap_or_default())))
}

/// Server-sent events. `Last-Event-ID` (or `?last_event_id=` or `?after=`, for clients that cannot set headers)
/// continues where a broken connection stopped.
pub(crate) async fn events(
    state: Shared,
    signed_in: SignedIn,
    Path(job_id): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let after_seq = cursor(&headers, &parameters)?;
    let job = find(&state, &signed_in.caller, &job_id).await?;
    if ending(job.status()).is_some() && after_seq >= job.last_seq {
        // 204 is how an EventSource is told not to come again.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(sse::answer(Feed::open(&state, signed_in, &job, after_seq).await?))
}

/// The number of the last event that a client has: the header of one that comes back, or what its address says.
fn cursor(headers: &HeaderMap, parameters: &Parameters) -> ApiResult<i64> {
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let named = |name: &'static str| parameters.text(name).map(|text| (name, text));
    let sent = header.map(|text| ("last_event_id", text));
    let sent = sent.or_else(|| named("last_event_id")).or_else(|| named("after"));
    let Some((name, text)) = sent else { return Ok(0) };
    match text.trim().parse::<u32>() {
        Ok(number) => Ok(i64::from(number)),
        Err(_) => {
            let fault = Fault::invalid_field(name, Rule::IntParsing);
            Err(ApiError::new(fault).at("query", json!({ name: text })))
        }
    }
}

/// One page of the jobs that the caller sees.
async fn page(state: &State, caller: &Caller, parameters: &Parameters) -> ApiResult<pb::ListJobsResponse> {
    let (page_size, page_token) = parameters.page()?;
    let status = match parameters.text("status") {
        None => pb::JobStatus::Unspecified,
        Some(text) => {
            let known = STATUSES.iter().find(|(word, _)| *word == text).map(|(_, status)| *status);
            let words = || STATUSES.iter().map(|(word, _)| (*word).to_owned()).collect();
            known.ok_or_else(|| parameters.blame(Fault::invalid_field("status", Rule::Enum(words()))))?
        }
    };
    let document_id = parameters.text("document_id").unwrap_or_default().to_owned();
    let message = pb::ListJobsRequest { page_size, page_token, document_id, status: status.into() };
    let answer = upstream::read(|| async {
        state.upstream.job.clone().list_jobs(state.upstream.quick(caller, message.clone())).await
    });
    answer.await.map_err(|status| parameters.blame(status))
}

async fn find(state: &State, caller: &Caller, job_id: &str) -> ApiResult<pb::Job> {
    let answer = upstream::read(|| async {
        let message = pb::GetJobRequest { job_id: job_id.to_owned() };
        state.upstream.job.clone().get_job(state.upstream.quick(caller, message)).await
    });
    Ok(answer.await?.job.unwrap_or_default())
}
