//! Server-sent events, read as a browser's `EventSource` reads them.

use reqwest::Response;
use serde_json::Value;
use tokio_stream::{Stream, StreamExt};

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: u64,
    pub kind: String,
    pub data: Value,
}

impl Event {
    /// Nothing comes after it.
    pub fn is_last(&self) -> bool {
        ["completed", "failed", "cancelled"].contains(&self.kind.as_str())
    }
}

/// The events of one connection. Ends with the connection, however that ends.
pub fn events(response: Response) -> impl Stream<Item = Event> {
    let mut bytes = Box::pin(response.bytes_stream());
    let mut buffer: Vec<u8> = Vec::new();
    let frames = std::iter::from_fn(move || Some(()));
    let mut ended = false;
    async_frames(frames, async move |_: &()| {
        loop {
            if let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
                let frame: Vec<u8> = buffer.drain(..end + 2).collect();
                if let Some(event) = parse(&String::from_utf8(frame).expect("events are UTF-8")) {
                    return Some(event);
                }
                continue;
            }
            if ended {
                return None;
            }
            match bytes.next().await {
                Some(Ok(chunk)) => buffer.extend_from_slice(&chunk),
                Some(Err(_)) | None => ended = true,
            }
        }
    })
}
