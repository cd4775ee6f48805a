//! Chat completions as OpenAI and many local servers have them.

use reqwest::{Client, RequestBuilder};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;

use super::ask::{Ask, End, Heard, Trouble};
use crate::writer::WriteError;
use crate::writers::settings::ModelSettings;

/// OpenAI's own endpoint has another name for the bound of an answer than everybody else.
const OPENAI_HOST: &str = "api.openai.com";
/// Given to a model that repeated itself; any number does.
const SEED: u32 = 20_611;

/// The request of a call.
pub fn request(http: &Client, settings: &ModelSettings, ask: Ask<'_>, max_tokens: u32) -> RequestBuilder {
    let url = format!("{}/chat/completions", settings.base_url.as_str().trim_end_matches('/'));
    let mut body = json!({
        "model": settings.model,
        "messages": ask.messages,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    let bound = match settings.base_url.host_str() {
        Some(OPENAI_HOST) => "max_completion_tokens",
        _ => "max_tokens",
    };
    body[bound] = json!(max_tokens);
    if ask.differently {
        body["seed"] = json!(SEED);
        body["temperature"] = json!(1.0);
    }
    let request = http.post(url).header("accept", "text/event-stream").json(&body);
    match &settings.api_key {
        Some(key) => request.bearer_auth(key.expose_secret()),
        None => request,
    }
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<ChunkUsage>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
struct ChunkUsage {
    #[serde(default)]
    prompt_tokens: i64,
    #[serde(default)]
    completion_tokens: i64,
}

/// What an event says.
///
/// # Errors
/// It is no chunk of an answer, or says that the answer broke off.
pub fn read(event: &str) -> Result<Option<Heard>, Trouble> {
    if event.trim() == "[DONE]" {
        return Ok(Some(Heard { last: true, ..Heard::default() }));
    }
    let chunk: Chunk = serde_json::from_str(event)
        .map_err(|_| Trouble::Garbled("the model's stream holds something that is no answer"))?;
    if chunk.error.is_some() {
        let reason = "the model's endpoint reported an error in the middle of its answer";
        return Err(WriteError::retry(reason).into());
    }
    let mut heard = Heard::default();
    if let Some(usage) = chunk.usage {
        heard.input_tokens = Some(usage.prompt_tokens);
        heard.output_tokens = Some(usage.completion_tokens);
    }
    if let Some(choice) = chunk.choices.into_iter().next() {
        heard.text = choice.delta.content.unwrap_or_default();
        heard.end = choice.finish_reason.map(|reason| match reason.as_str() {
            "length" => End::NoRoom,
            "content_filter" => End::Filtered,
            _ => End::Whole,
        });
    }
    Ok(Some(heard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_openai_itself_gets_the_bound_under_its_own_name() {
        let body = |url: &str| {
            let settings =
                ModelSettings { base_url: url.parse().unwrap(), model: "m".to_owned(), api_key: None };
            let ask = Ask { messages: &[], after: "", differently: true };
            let request = request(&Client::new(), &settings, ask, 300).build().unwrap();
            let body = request.body().unwrap().as_bytes().unwrap().to_vec();
            serde_json::from_slice::<serde_json::Value>(&body).unwrap()
        };
        assert_eq!(body("https://api.openai.com/v1")["max_completion_tokens"], 300);
        assert_eq!(body("http://127.0.0.1:11434/v1")["max_tokens"], 300);
        assert_eq!(body("http://127.0.0.1:11434/v1")["seed"], SEED);
    }
}
