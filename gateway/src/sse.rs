//! Job events as server-sent events.

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use quire_proto::job::v1 as pb;

use crate::feed::{Feed, News};

/// The feed as an answer. Every event carries its number as `id`, so that `Last-Event-ID` continues it. Ends
/// after the job's last event, at a shutdown, after which the client comes back, or when its session has ended.
pub(crate) fn answer(mut feed: Feed) -> Response {
    let stream = async_stream::stream! {
        // Milliseconds after which a client comes back by itself.
        yield Ok::<_, std::io::Error>(Bytes::from_static(b"retry: 1000\n\n"));
        loop {
            match feed.next().await {
                News::Event(event) => yield Ok(Bytes::from(frame(&event))),
                News::Beat => yield Ok(Bytes::from_static(b": still here\n\n")),
                // The client knows by the last event whether this is the end of the job, and comes back with its
                // number if it is not.
                News::Over(_) => break,
            }
        }
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Else nginx holds events back until its buffer is full.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(stream)).into_response()
}

fn frame(event: &pb::JobEvent) -> String {
    let mut frame = format!("id: {}\nevent: {}\n", event.seq, event.kind);
    for line in event.data_json.lines() {
        frame.push_str("data: ");
        frame.push_str(line);
        frame.push('\n');
    }
    frame.push('\n');
    frame
}
