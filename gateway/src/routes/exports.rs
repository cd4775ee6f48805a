//! Downloads of finished documents: ranges, ETags, and never the whole file in memory.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use quire_fault::{Fault, Kind};
use quire_proto::document::v1 as pb;
use quire_proto::document::v1::download_export_response::Part;

use crate::bearer::SignedIn;
use crate::error::{ApiError, ApiResult};
use crate::state::{Shared, State};
use crate::upstream::Caller;

pub(crate) async fn download(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path((document_id, format)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let format = match format.as_str() {
        "pdf" => pb::ExportFormat::Pdf,
        "md" => pb::ExportFormat::Markdown,
        _ => {
            let message = "there is no such format: pdf and md are offered";
            return Err(Fault::new(Kind::NotFound, "EXPORT_FORMAT_UNKNOWN", message).into());
        }
    };
    let mut wanted = pb::DownloadExportRequest { document_id, format: format.into(), ..Default::default() };
    wanted.describe_only = true;
    let (export, _) = open(&state, &caller, wanted.clone()).await?;
    let etag = format!("\"{}\"", export.sha256);
    if header(&headers, IF_NONE_MATCH)
        .is_some_and(|tags| tags == "*" || tags.split(',').any(|tag| tag.trim() == etag))
    {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, value(&etag))]).into_response());
    }
    // A range of another version of the file would not fit what the client already has.
    let same_version = header(&headers, IF_RANGE).is_none_or(|tag| tag == etag);
    let range = header(&headers, RANGE).filter(|_| same_version);
    let size = export.size_bytes;
    let range = match range.map(|range| parse_range(range, size)) {
        None | Some(Ranged::Whole) => None,
        Some(Ranged::Part(first, last)) => Some((first, last)),
        Some(Ranged::Outside) => {
            let mut error = HeaderMap::new();
            error.insert(CONTENT_RANGE, value(&format!("bytes */{size}")));
            let answer = ApiError::http(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "RANGE_NOT_SATISFIABLE",
                "the file has no such range",
            );
            return Err(answer.with_headers(error));
        }
    };
    let (first, last) = range.unwrap_or((0, size - 1));
    let length = last - first + 1;
    let mut answer = HeaderMap::new();
    answer.insert(CONTENT_TYPE, value(&export.media_type));
    answer.insert(CONTENT_DISPOSITION, value(&disposition(&export.file_name)));
    answer.insert(CONTENT_LENGTH, HeaderValue::from(length));
    answer.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(ETAG, value(&etag));
    answer.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if range.is_some() {
        answer.insert(CONTENT_RANGE, value(&format!("bytes {first}-{last}/{size}")));
    }
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    if method == Method::HEAD {
        return Ok((status, answer).into_response());
    }
    wanted.describe_only = false;
    wanted.offset = first;
    wanted.length = length;
    let (opened, stream) = open(&state, &caller, wanted).await?;
    if opened.sha256 != export.sha256 {
        // Replaced between the two calls: the headers above describe a file that is gone.
        let fault = Fault::new(Kind::Unavailable, "EXPORT_REPLACED", "the file was just replaced: ask again");
        return Err(fault.with_retry_after(Duration::from_secs(1)).into());
    }
    let bytes = stream.map(|message| match message {
        Ok(pb::DownloadExportResponse { part: Some(Part::Chunk(chunk)) }) => Ok(bytes::Bytes::from(chunk)),
        Ok(_) => Ok(bytes::Bytes::new()),
        // The status was sent already: cutting the connection is how the client learns of it.
        Err(status) => Err(std::io::Error::other(status.message().to_owned())),
    });
    Ok((status, answer, Body::from_stream(bytes)).into_response())
}

async fn open(
    state: &State,
    caller: &Caller,
    wanted: pb::DownloadExportRequest,
) -> ApiResult<(pb::Export, tonic::Streaming<pb::DownloadExportResponse>)> {
    let request = state.upstream.stream(caller, wanted);
    let mut stream = state.upstream.document.clone().download_export(request).await?.into_inner();
    match stream.message().await? {
        Some(pb::DownloadExportResponse { part: Some(Part::Export(export)) }) => Ok((export, stream)),
        _ => Err(Fault::internal().into()),
    }
}

enum Ranged {
    Whole,
    /// First and last byte, both counted from 0.
    Part(i64, i64),
    Outside,
}

/// One range of RFC 9110 section 14.1.2. Several ranges, or another unit, are answered with the whole file, as
/// the RFC allows.
fn parse_range(header: &str, size: i64) -> Ranged {
    let Some(range) = header.strip_prefix("bytes=").filter(|range| !range.contains(',')) else {
        return Ranged::Whole;
    };
    let Some((first, last)) = range.split_once('-') else { return Ranged::Whole };
    match (position(first), position(last)) {
        (Some(first), Some(last)) if first > last => Ranged::Whole,
        (Some(first), _) if first >= size => Ranged::Outside,
        (Some(first), Some(last)) => Ranged::Part(first, last.min(size - 1)),
        (Some(first), None) if last.trim().is_empty() => Ranged::Part(first, size - 1),
        (None, Some(0)) if first.trim().is_empty() => Ranged::Outside,
        (None, Some(count)) if first.trim().is_empty() => {
            Ranged::Part(size.saturating_sub(count).max(0), size - 1)
        }
        _ => Ranged::Whole,
    }
}

/// Digits only: a sign would turn a length into something else.
fn position(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(i64::MAX))
}

/// RFC 6266, with the name once in ASCII and once in full.
fn disposition(name: &str) -> String {
    let ascii: String =
        name.chars()
            .map(|character| {
                if character.is_ascii_alphanumeric() || "-_. ".contains(character) { character } else { '_' }
            })
            .collect();
    let full: String =
        url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20");
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{full}")
}

fn header(headers: &HeaderMap, name: axum::http::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(header: &str) -> Option<(i64, i64)> {
        match parse_range(header, 100) {
            Ranged::Part(first, last) => Some((first, last)),
            Ranged::Whole => None,
            Ranged::Outside => Some((-1, -1)),
        }
    }

    #[test]
    fn ranges_follow_rfc_9110() {
        assert_eq!(part("bytes=0-9"), Some((0, 9)));
        assert_eq!(part("bytes=90-"), Some((90, 99)));
        assert_eq!(part("bytes=-10"), Some((90, 99)));
        assert_eq!(part("bytes=-1000"), Some((0, 99)));
        assert_eq!(part("bytes=90-1000"), Some((90, 99)));
        assert_eq!(part("bytes=100-"), Some((-1, -1)));
        assert_eq!(part("bytes=-0"), Some((-1, -1)));
        assert_eq!(part("bytes=9-0"), None);
        assert_eq!(part("bytes=--5"), None);
        assert_eq!(part("bytes=-99999999999999999999"), Some((0, 99)));
        assert_eq!(part("bytes=0-1,5-6"), None);
        assert_eq!(part("lines=1-2"), None);
    }

    #[test]
    fn a_file_name_is_sent_in_ascii_and_in_full() {
        assert_eq!(
            disposition("Über \"x\".pdf"),
            "attachment; filename=\"_ber _x_.pdf\"; filename*=UTF-8''%C3%9Cber%20%22x%22.pdf"
        );
    }
}
