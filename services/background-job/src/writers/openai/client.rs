//! One call of a chat model: the request, the stream of its answer, and what its refusals mean.

use std::time::Duration;

use futures::StreamExt;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::sse::Parser;
use crate::writer::{Sink, Usage, WriteError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream in which nothing comes for so long is dead, whatever its connection says.
const NO_PROGRESS: Duration = Duration::from_secs(60);
/// How long until the next look at an endpoint that lets this installation not in.
const LOCKED_OUT: Duration = Duration::from_secs(300);
/// Far above what a section can be.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Which model, and where.
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// `https://api.openai.com/v1`, `http://localhost:11434/v1`.
    pub base_url: Url,
    pub model: String,
    /// Local servers need none.
    pub api_key: Option<SecretString>,
}

/// A part of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Message {
    pub role: &'static str,
    pub content: String,
}

impl Message {
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: "system", content: content.into() }
    }

    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user", content: content.into() }
    }

    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: "assistant", content: content.into() }
    }
}

/// What the model said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    /// It stopped because there was no more room, not because it was done.
    pub cut: bool,
    pub usage: Usage,
}

/// Talks to one OpenAI-compatible endpoint.
#[derive(Clone)]
pub struct Model {
    http: reqwest::Client,
    settings: ModelSettings,
}

impl Model {
    /// # Errors
    /// The TLS provider cannot be used.
    pub fn new(settings: ModelSettings) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect could carry the key and the customer's text to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, settings })
    }

    pub fn name(&self) -> &str {
        &self.settings.model
    }

    /// Asks, and passes the text on as it comes.
    ///
    /// # Errors
    /// Retryable when the endpoint does not answer, is overloaded or breaks off; else the endpoint refuses.
    #[tracing::instrument(name = "model", skip_all, fields(model = self.settings.model))]
    pub async fn ask(&self, messages: &[Message], sink: &Sink) -> Result<Answer, WriteError> {
        let url = format!("{}/chat/completions", self.settings.base_url.as_str().trim_end_matches('/'));
        let body = json!({
            "model": self.settings.model,
            "messages": messages,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        let mut request = self.http.post(url).header("accept", "text/event-stream").json(&body);
        if let Some(key) = &self.settings.api_key {
            request = request.bearer_auth(key.expose_secret());
        }
        let response = tokio::time::timeout(NO_PROGRESS, request.send()).await;
        let response = response.map_err(|_| stalled())?.map_err(|error| unreachable(&error))?;
        refusal(&response)?;
        let mut stream = response.bytes_stream();
        let mut parser = Parser::default();
        let mut answer = Collected::default();
        loop {
            let piece = tokio::time::timeout(NO_PROGRESS, stream.next()).await.map_err(|_| stalled())?;
            let Some(piece) = piece else { break };
            let piece = piece.map_err(|error| unreachable(&error))?;
            let events = parser.push(&piece).map_err(|error| WriteError::retry(error.to_string()))?;
            for event in events {
                if event.trim() == "[DONE]" {
                    answer.done = true;
                    continue;
                }
                if let Some(text) = answer.take(&event)? {
                    sink.text(text).await?;
                }
            }
            if answer.done {
                break;
            }
        }
        answer.finish()
    }
}

#[derive(Default)]
struct Collected {
    text: String,
    finish_reason: Option<String>,
    usage: Usage,
    done: bool,
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

impl Collected {
    /// The new text of one event.
    fn take(&mut self, event: &str) -> Result<Option<String>, WriteError> {
        let chunk: Chunk = serde_json::from_str(event)
            .map_err(|_| WriteError::retry("the model's stream holds something that is no answer"))?;
        if chunk.error.is_some() {
            return Err(WriteError::retry(
                "the model's endpoint reported an error in the middle of its answer",
            ));
        }
        if let Some(usage) = chunk.usage {
            self.usage = Usage { input_tokens: usage.prompt_tokens, output_tokens: usage.completion_tokens };
        }
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(None);
        };
        if choice.finish_reason.is_some() {
            self.finish_reason = choice.finish_reason;
        }
        let text = choice.delta.content.filter(|text| !text.is_empty());
        if let Some(text) = &text {
            self.text.push_str(text);
            if self.text.len() > MAX_ANSWER_BYTES {
                return Err(WriteError::failed(
                    "endless_answer",
                    "the language model did not come to an end",
                ));
            }
        }
        Ok(text)
    }

    fn finish(self) -> Result<Answer, WriteError> {
        let cut = match self.finish_reason.as_deref() {
            None if !self.done => return Err(WriteError::retry("the model's answer broke off")),
            Some("content_filter") => {
                return Err(WriteError::failed(
                    "content_filter",
                    "the language model refused to write this text",
                ));
            }
            Some("length") => true,
            _ => false,
        };
        if self.text.trim().is_empty() {
            return Err(WriteError::retry("the model's answer was empty"));
        }
        Ok(Answer { text: self.text, cut, usage: self.usage })
    }
}

fn stalled() -> WriteError {
    WriteError::retry(format!("the model sent nothing for {} seconds", NO_PROGRESS.as_secs()))
}

/// The error's own text may hold the address with a password in it.
fn unreachable(error: &reqwest::Error) -> WriteError {
    let reason = match error {
        error if error.is_connect() => "the model's endpoint cannot be reached",
        error if error.is_timeout() => "the model's endpoint did not answer in time",
        _ => "the connection to the model broke",
    };
    WriteError::retry(reason)
}

fn refusal(response: &reqwest::Response) -> Result<(), WriteError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    tracing::warn!(%status, "the model's endpoint refused");
    let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    Err(refused(status, after))
}

/// What a status other than success means. `after` is the header `retry-after`.
fn refused(status: StatusCode, after: Option<&str>) -> WriteError {
    let code = status.as_u16();
    let after = after.and_then(|value| value.trim().parse::<f64>().ok());
    let after = after.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match status {
        // A wrong key, an empty account, a model that is not served: an operator's to mend, and the same for
        // every job, so that no job may fail over it before somebody could look.
        StatusCode::UNAUTHORIZED
        | StatusCode::PAYMENT_REQUIRED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND => WriteError::Wait {
            reason: format!("the language model's endpoint turns this installation away with status {code}"),
            after: Some(LOCKED_OUT),
        },
        // Also an account without money is answered so by some providers.
        StatusCode::TOO_MANY_REQUESTS => {
            WriteError::Wait { reason: format!("the model's endpoint answered {code}"), after }
        }
        StatusCode::REQUEST_TIMEOUT => {
            WriteError::Retry { reason: format!("the model's endpoint answered {code}"), after }
        }
        status if status.is_server_error() => {
            WriteError::Retry { reason: format!("the model's endpoint answered {code}"), after }
        }
        _ => WriteError::failed(
            "model_refused",
            format!("the language model's endpoint refused the request with status {code}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_the_request_itself_fails_at_once() {
        for code in [401, 402, 403, 404] {
            let error = refused(StatusCode::from_u16(code).unwrap(), None);
            assert!(matches!(error, WriteError::Wait { after: Some(LOCKED_OUT), .. }), "{code}: {error:?}");
        }
        let busy = refused(StatusCode::TOO_MANY_REQUESTS, Some("7"));
        let asked = Some(Duration::from_secs(7));
        assert!(matches!(busy, WriteError::Wait { after, .. } if after == asked), "{busy:?}");
        for code in [408, 500, 503] {
            let error = refused(StatusCode::from_u16(code).unwrap(), None);
            assert!(matches!(error, WriteError::Retry { .. }), "{code}: {error:?}");
        }
        for code in [400, 422] {
            let error = refused(StatusCode::from_u16(code).unwrap(), None);
            assert!(matches!(error, WriteError::Failed { .. }), "{code}: {error:?}");
        }
    }
}
