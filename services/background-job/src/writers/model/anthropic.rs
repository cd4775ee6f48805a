//! The Messages API of Anthropic.

use reqwest::{Client, RequestBuilder};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::{Ask, End, Heard, Message, SYSTEM, Trouble};
use crate::writer::WriteError;
use crate::writers::settings::ModelSettings;

const VERSION: &str = "2023-06-01";
/// For a model that repeated itself; it is 1 otherwise, and there is no seed.
const OTHER_TEMPERATURE: f64 = 0.7;

/// The request of a call.
pub fn request(http: &Client, settings: &ModelSettings, ask: Ask<'_>, max_tokens: u32) -> RequestBuilder {
    let url = format!("{}/messages", settings.base_url.as_str().trim_end_matches('/'));
    let (system, messages): (Vec<&Message>, Vec<&Message>) =
        ask.messages.iter().partition(|message| message.role == SYSTEM);
    let system: Vec<&str> = system.iter().map(|message| message.content.as_str()).collect();
    let mut body = json!({
        "model": settings.model,
        "max_tokens": max_tokens,
        "system": system.join("\n\n"),
        "messages": messages,
        "stream": true,
    });
    if ask.differently {
        body["temperature"] = json!(OTHER_TEMPERATURE);
    }
    let request = http.post(url).header("accept", "text/event-stream").header("anthropic-version", VERSION);
    let request = request.json(&body);
    match &settings.api_key {
        Some(key) => request.header("x-api-key", key.expose_secret()),
        None => request,
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Started,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    MessageDelta {
        delta: Stopped,
        #[serde(default)]
        usage: Counts,
    },
    MessageStop,
    Ping,
    Error {
        #[serde(default)]
        error: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Started {
    #[serde(default)]
    usage: Counts,
}

#[derive(Deserialize)]
struct Delta {
    /// Only of text; a model that thinks first has other pieces too.
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Stopped {
    #[serde(default)]
    stop_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Counts {
    input_tokens: Option<i64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<i64>,
    #[serde(default)]
    cache_read_input_tokens: Option<i64>,
    output_tokens: Option<i64>,
}

/// What an event says; `None` for one that only keeps the connection alive.
///
/// # Errors
/// It is no event of an answer, or says that the answer broke off.
pub fn read(event: &str) -> Result<Option<Heard>, Trouble> {
    let event: Event = serde_json::from_str(event)
        .map_err(|_| Trouble::Garbled("the model's stream holds something that is no answer"))?;
    let mut heard = Heard::default();
    match event {
        Event::Ping => return Ok(None),
        Event::MessageStart { message } => {
            let usage = message.usage;
            let cached = usage.cache_creation_input_tokens.unwrap_or_default()
                + usage.cache_read_input_tokens.unwrap_or_default();
            heard.input_tokens = usage.input_tokens.map(|tokens| tokens + cached);
        }
        Event::ContentBlockDelta { delta } => heard.text = delta.text,
        Event::MessageDelta { delta, usage } => {
            heard.output_tokens = usage.output_tokens;
            heard.end = delta.stop_reason.map(|reason| match reason.as_str() {
                "max_tokens" | "model_context_window_exceeded" => End::NoRoom,
                "refusal" => End::Filtered,
                _ => End::Whole,
            });
        }
        Event::MessageStop => heard.last = true,
        Event::Error { error } => {
            let overloaded = error["type"] == "overloaded_error";
            let reason = match overloaded {
                true => "the model's endpoint is overloaded",
                false => "the model's endpoint reported an error in the middle of its answer",
            };
            return Err(WriteError::retry(reason).into());
        }
        Event::Other => {}
    }
    Ok(Some(heard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_an_answer_are_read() {
        let heard = |event: &str| read(event).unwrap().unwrap();
        let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":20,"output_tokens":1,
            "cache_read_input_tokens":5}}}"#;
        assert_eq!(heard(start), Heard { input_tokens: Some(25), ..Heard::default() });
        let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#;
        assert_eq!(heard(text).text, "Hi");
        let thought =
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}"#;
        assert_eq!(heard(thought), Heard::default());
        let end =
            r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":7}}"#;
        assert_eq!((heard(end).end, heard(end).output_tokens), (Some(End::NoRoom), Some(7)));
        assert!(heard(r#"{"type":"message_stop"}"#).last);
        assert!(read(r#"{"type":"ping"}"#).unwrap().is_none());
        assert_eq!(heard(r#"{"type":"something_new","x":1}"#), Heard::default());
        assert!(matches!(
            read(r#"{"type":"error","error":{"type":"overloaded_error"}}"#),
            Err(Trouble::Other(_))
        ));
        assert!(matches!(read("<html>"), Err(Trouble::Garbled(_))));
    }
}
