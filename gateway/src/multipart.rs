//! Uploads: one file of a multipart form, handed on chunk by chunk, never held whole.

use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::http::StatusCode;
use bytes::Bytes;
use quire_fault::{Fault, Kind, Rule};
use quire_proto::document::v1 as pb;
use tokio::sync::mpsc;

use crate::error::{ApiError, ApiResult};

/// Bytes of one gRPC message.
const CHUNK: usize = 128 * 1024;

/// The next field of the form.
///
/// # Errors
/// The form is too large, or is none.
pub(crate) async fn next_field(form: &mut Multipart, max_bytes: usize) -> ApiResult<Option<Field<'_>>> {
    form.next_field().await.map_err(|error| unreadable(&error, max_bytes))
}

/// The name of the file that a field holds.
///
/// # Errors
/// 422 when it has none.
pub(crate) fn file_name(field: &Field<'_>) -> ApiResult<String> {
    let name = field.file_name().unwrap_or_default();
    if name.is_empty() {
        let rule = Rule::Value("the file needs a name with an extension".to_owned());
        return Err(Fault::invalid_field("file", rule).into());
    }
    Ok(name.to_owned())
}

/// Sends the field's bytes into the stream of the upload. Ends early, without an error, when the service has
/// stopped reading: its answer says why.
///
/// # Errors
/// The client stopped sending, or sent too much.
pub(crate) async fn pump(
    mut field: Field<'_>,
    into: mpsc::Sender<pb::UploadSourceRequest>,
    max_bytes: usize,
) -> ApiResult<()> {
    while let Some(bytes) = field.chunk().await.map_err(|error| unreadable(&error, max_bytes))? {
        for piece in pieces(&bytes) {
            let message =
                pb::UploadSourceRequest { part: Some(pb::upload_source_request::Part::Chunk(piece)) };
            if into.send(message).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn pieces(bytes: &Bytes) -> Vec<Vec<u8>> {
    bytes.chunks(CHUNK).map(<[u8]>::to_vec).collect()
}

fn unreadable(error: &MultipartError, max_bytes: usize) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large(max_bytes);
    }
    ApiError::http(
        StatusCode::BAD_REQUEST,
        "FORM_UNREADABLE",
        "the form could not be read: send multipart/form-data with a field named file",
    )
}

pub(crate) fn too_large(max_bytes: usize) -> ApiError {
    let message = format!("the file is larger than {max_bytes} bytes");
    ApiError::new(Fault::new(Kind::TooLarge, "SOURCE_TOO_LARGE", message))
}
