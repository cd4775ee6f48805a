//! Server-sent events, read as a browser's `EventSource` reads them.

use reqwest::Response;
use serde_json::Value;

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

/// One connection.
pub struct Reader {
    response: Response,
    buffer: Vec<u8>,
}

impl Reader {
    pub fn new(response: Response) -> Self {
        Self { response, buffer: Vec::new() }
    }

    /// The next event; nothing at the end of the connection, however it ends.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let frame: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(event) = parse(&String::from_utf8(frame).expect("events are UTF-8")) {
                    return Some(event);
                }
                continue;
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

/// Comments and frames without data are no events (WHATWG HTML, 9.2.6).
fn parse(frame: &str) -> Option<Event> {
    let (mut id, mut kind, mut data) = (None, String::new(), Vec::new());
    for line in frame.lines() {
        match line.split_once(": ") {
            Some(("id", value)) => id = Some(value.parse().expect("ids are numbers")),
            Some(("event", value)) => value.clone_into(&mut kind),
            Some(("data", value)) => data.push(value),
            _ => {}
        }
    }
    if data.is_empty() {
        return None;
    }
    let data = serde_json::from_str(&data.join("\n")).expect("data is JSON");
    Some(Event { id: id.expect("every event has an id"), kind, data })
}
