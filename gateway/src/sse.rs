//! Job events as server-sent events.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use quire_fault::Fault;
use quire_proto::job::v1 as pb;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::streams::Place;

/// Keeps proxies from closing a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The stream as an answer. Every event carries its number as `id`, so that `Last-Event-ID` continues it. Ends
/// after the job's last event, at a shutdown, after which the client comes back, or when its session has ended.
pub(crate) fn answer(
    mut events: Streaming<pb::WatchJobResponse>,
    shutdown: CancellationToken,
    ended: impl Future<Output = Fault> + Send + 'static,
    place: Place,
) -> Response {
    let stream = async_stream::stream! {
        // Held until the stream ends or its reader goes away.
        let _place = place;
        let mut ended = std::pin::pin!(ended);
        // Milliseconds after which a client comes back by itself.
        yield Ok::<_, std::io::Error>(Bytes::from_static(b"retry: 1000\n\n"));
        loop {
            let next = tokio::select! {
                next = tokio::time::timeout(HEARTBEAT, events.message()) => next,
                () = shutdown.cancelled() => break,
                _ = &mut ended => break,
            };
            match next {
                Err(_) => yield Ok(Bytes::from_static(b": still here\n\n")),
                Ok(Ok(Some(message))) => yield Ok(Bytes::from(frame(&message.event.unwrap_or_default()))),
                // The end of the job, or of the connection to the service: the client knows which by the
                // last event, and comes back with its number if it was not the end.
                Ok(Ok(None) | Err(_)) => break,
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
