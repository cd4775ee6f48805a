//! Source files: add, list, remove.

use axum::Json;
use axum::extract::Path;
use axum::extract::multipart::{Field, Multipart, MultipartRejection};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::response::IntoResponse;
use quire_fault::{Fault, Rule};
use quire_proto::document::v1 as pb;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::bearer::SignedIn;
use crate::error::{ApiError, ApiResult};
use crate::multipart;
use crate::render;
use crate::state::{Shared, State};
use crate::upstream::{self, Caller};

/// Messages on their way to the service; more would only take memory.
const IN_FLIGHT: usize = 4;

pub(crate) async fn upload(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(document_id): Path<String>,
    headers: axum::http::HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> ApiResult<impl IntoResponse> {
    let mut form = form.map_err(|_| {
        let message = "send multipart/form-data with a field named file";
        ApiError::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message)
    })?;
    let max_bytes = state.config.source_max_bytes;
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > max_bytes.saturating_add(16 * 1024)) {
        return Err(multipart::too_large(max_bytes));
    }
    while let Some(field) = multipart::next_field(&mut form, max_bytes).await? {
        if field.name() == Some("file") {
            let source = forward(&state, &caller, document_id, field).await?;
            return Ok((StatusCode::CREATED, Json(render::source(&source))));
        }
    }
    Err(Fault::invalid_field("file", Rule::Missing).into())
}

async fn forward(
    state: &State,
    caller: &Caller,
    document_id: String,
    field: Field<'_>,
) -> ApiResult<pb::Source> {
    let max_bytes = state.config.source_max_bytes;
    let file_name = multipart::file_name(&field)?;
    let input = json!({ "file": file_name });
    let (send, receive) = mpsc::channel(IN_FLIGHT);
    let header = pb::SourceHeader { document_id, file_name };
    let header = pb::UploadSourceRequest { part: Some(pb::upload_source_request::Part::Header(header)) };
    // The channel was just made and is empty.
    let _ = send.try_send(header);
    let pumped = multipart::pump(field, send.clone(), max_bytes);
    // A stream whose senders are all gone looks complete. This one is dropped only after everything was sent;
    // on an error it outlives the call, which then ends as broken.
    let incomplete = send;
    let request = state.upstream.upload(caller, ReceiverStream::new(receive));
    let mut client = state.upstream.document.clone();
    let mut call = std::pin::pin!(client.upload_source(request));
    let answer = tokio::select! {
        answer = &mut call => answer,
        pumped = pumped => {
            pumped?;
            drop(incomplete);
            call.await
        }
    };
    let answer = answer.map_err(|status| ApiError::from(status).at("body", input))?;
    Ok(answer.into_inner().source.unwrap_or_default())
}

pub(crate) async fn list(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(document_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let answer = upstream::read(|| async {
        let message = pb::ListSourcesRequest { document_id: document_id.clone() };
        state.upstream.document.clone().list_sources(state.upstream.slow(&caller, message)).await
    });
    let answer = answer.await?;
    let sources: Vec<_> = answer.sources.iter().map(render::source).collect();
    Ok(Json(json!({ "sources": sources, "max_pages": answer.max_pages })))
}

pub(crate) async fn delete(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path((document_id, source_id)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    let request = state.upstream.quick(&caller, pb::DeleteSourceRequest { document_id, source_id });
    state.upstream.document.clone().delete_source(request).await?;
    Ok(StatusCode::NO_CONTENT)
}
