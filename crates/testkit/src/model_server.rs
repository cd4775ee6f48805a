//! A provider of language models, played: it speaks OpenAI's chat completions and Anthropic's Messages API, and says
//! and does what the test tells it to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What the model does with one call.
#[derive(Clone)]
pub enum Reply {
    /// Says the pieces, each in an event of its own, and ends well.
    Says(Vec<String>),
    /// Says this, ends well, and counts so many tokens that were read and written.
    Counts(String, i64, i64),
    /// Says this and ends for lack of room.
    Cut(String),
    /// Says this and closes the connection in the middle.
    BreaksOff(String),
    /// Says this, and then something that is no answer.
    Garbles(String),
    /// Sends these bytes, in these pieces, and closes.
    Raw(Vec<Bytes>),
    /// Says this and then nothing more, until the caller goes away; only the connection is kept alive.
    Hangs(String),
    /// Sends headers, and then nothing at all until the caller goes away.
    Silent,
    /// Says the first text, waits for the sign, says the second and ends well.
    Waits(String, watch::Receiver<bool>, String),
    /// Answers with a status, and says when to come again.
    Refuses(u16, Option<&'static str>),
}

impl Reply {
    pub fn says(text: &str) -> Self {
        Self::Says(vec![text.to_owned()])
    }
}

/// A connection in which nothing happens is kept alive this often.
const KEEP_ALIVE: Duration = Duration::from_millis(50);
/// Tokens that a reply counts unless it says otherwise.
pub const USAGE: (i64, i64) = (100, 20);

/// `outline`, `chapter 3` for the sections of one, or the key of a section: what is asked for.
type Asked = String;
type Script = Box<dyn Fn(&Value, &str, usize) -> Reply + Send + Sync>;

/// The server. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct ModelServer {
    /// How often each thing was asked for.
    calls: watch::Sender<HashMap<Asked, usize>>,
    script: Arc<Script>,
    requests: Arc<Mutex<Vec<Value>>>,
    /// Ends with `/v1`, for both languages.
    pub url: String,
}

impl ModelServer {
    /// `script` gets what is asked for, and the number of this call for it, counted from 1.
    ///
    /// # Panics
    /// No port of this machine is free.
    pub async fn start(script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_reading(move |_, asked, number| script(asked, number)).await
    }

    /// The same with a script that also reads the body of each call.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn start_reading(
        script: impl Fn(&Value, &str, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let model = Self {
            calls: watch::channel(HashMap::new()).0,
            script: Arc::new(Box::new(script)),
            requests: Arc::default(),
            url: format!("http://{address}/v1"),
        };
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/messages", post(message))
            .with_state(model.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        model
    }

    /// Waits until it was asked for something.
    pub async fn was_asked(&self, asked: &str) {
        self.was_asked_times(asked, 1).await;
    }

    /// Waits until it was asked for something so often.
    pub async fn was_asked_times(&self, asked: &str, times: usize) {
        let mut calls = self.calls.subscribe();
        let enough = calls.wait_for(|calls| calls.get(asked).is_some_and(|count| *count >= times));
        enough.await.expect("the server holds the other end");
    }

    /// Waits until it was asked so often, for whatever.
    pub async fn was_asked_in_all(&self, times: usize) {
        let mut calls = self.calls.subscribe();
        let enough = calls.wait_for(|calls| calls.values().sum::<usize>() >= times);
        enough.await.expect("the server holds the other end");
    }

    pub fn calls(&self, asked: &str) -> usize {
        self.calls.borrow().get(asked).copied().unwrap_or_default()
    }

    /// Every call so far.
    pub fn all_calls(&self) -> usize {
        self.calls.borrow().values().sum()
    }

    /// The bodies of all calls, in the order in which they came.
    pub fn requests(&self) -> MutexGuard<'_, Vec<Value>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, request: Value) -> Reply {
        let messages = request["messages"].as_array().cloned().unwrap_or_default();
        let ask = messages.iter().find(|message| message["role"] == "user");
        let ask = ask.and_then(|message| message["content"].as_str()).unwrap_or_default();
        let named = |prefix: &str| Some(ask.strip_prefix(prefix)?.split(' ').next().unwrap_or_default());
        let asked = match (named("Write section "), named("Divide chapter ")) {
            (Some(key), _) => key.to_owned(),
            (None, Some(number)) => format!("chapter {number}"),
            (None, None) => "outline".to_owned(),
        };
        self.requests().push(request.clone());
        let mut number = 0;
        self.calls.send_modify(|calls| {
            let count = calls.entry(asked.clone()).or_default();
            *count += 1;
            number = *count;
        });
        (self.script)(&request, &asked, number)
    }
}

/// One way to write the events of an answer.
struct Language {
    begin: fn(i64) -> String,
    text: fn(&str) -> String,
    /// The reason in OpenAI's words, and the tokens.
    end: fn(&str, i64, i64) -> String,
    alive: &'static str,
}

const OPENAI: Language = Language {
    begin: |_| String::new(),
    text: delta,
    end: |reason, input, output| {
        format!(
            "{}{}data: [DONE]\n\n",
            event(&json!({ "choices": [{ "delta": {}, "finish_reason": reason }] })),
            event(
                &json!({ "choices": [], "usage": { "prompt_tokens": input, "completion_tokens": output } })
            ),
        )
    },
    alive: ": still there\n\n",
};

const ANTHROPIC: Language = Language {
    begin: |input| {
        event(&json!({
            "type": "message_start",
            "message": { "role": "assistant", "usage": { "input_tokens": input, "output_tokens": 1 } },
        }))
    },
    text: |text| {
        let delta = json!({ "type": "text_delta", "text": text });
        event(&json!({ "type": "content_block_delta", "index": 0, "delta": delta }))
    },
    end: |reason, _, output| {
        let reason = if reason == "length" { "max_tokens" } else { "end_turn" };
        let usage = json!({ "output_tokens": output });
        let stopped = json!({ "type": "message_delta", "delta": { "stop_reason": reason }, "usage": usage });
        event(&stopped) + &event(&json!({ "type": "message_stop" }))
    },
    alive: "event: ping\ndata: {\"type\":\"ping\"}\n\n",
};

async fn complete(State(model): State<ModelServer>, body: String) -> Response {
    answer(&model, &OPENAI, &body)
}

async fn message(State(model): State<ModelServer>, headers: HeaderMap, body: String) -> Response {
    if !headers.contains_key("anthropic-version") || !headers.contains_key("x-api-key") {
        return status(401, None);
    }
    answer(&model, &ANTHROPIC, &body)
}

fn answer(model: &ModelServer, language: &Language, body: &str) -> Response {
    let Ok(request) = serde_json::from_str(body) else {
        return status(400, None);
    };
    let (input, output) = USAGE;
    let begin = |input| (language.begin)(input);
    let text = |text: &str| (language.text)(text);
    let end = |reason: &str, input, output| (language.end)(reason, input, output);
    let mut sign = None;
    let mut hang = None;
    let pieces: Vec<String> = match model.reply(request) {
        Reply::Says(texts) => {
            let texts = texts.iter().map(|piece| text(piece));
            std::iter::once(begin(input)).chain(texts).chain([end("stop", input, output)]).collect()
        }
        Reply::Counts(said, input, output) => vec![begin(input), text(&said), end("stop", input, output)],
        Reply::Cut(said) => vec![begin(input), text(&said), end("length", input, output)],
        Reply::BreaksOff(said) => vec![begin(input), text(&said)],
        Reply::Garbles(said) => {
            vec![begin(input), text(&said), "data: <html>no answer</html>\n\n".to_owned()]
        }
        Reply::Hangs(said) => {
            hang = Some(language.alive);
            vec![begin(input), text(&said)]
        }
        Reply::Waits(first, released, second) => {
            sign = Some(released);
            vec![begin(input) + &text(&first), text(&second) + &end("stop", input, output)]
        }
        Reply::Silent => return streamed(futures::stream::pending::<Result<Bytes, std::io::Error>>()),
        Reply::Raw(pieces) => return stream(pieces, None, None),
        Reply::Refuses(code, retry_after) => return status(code, retry_after),
    };
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).map(Bytes::from).collect();
    stream(pieces, sign, hang)
}

/// Sends the pieces; after the first one it waits for the sign, if there is one. With `hang` the end never comes.
fn stream(
    pieces: Vec<Bytes>,
    mut sign: Option<watch::Receiver<bool>>,
    hang: Option<&'static str>,
) -> Response {
    let stream = async_stream::stream! {
        for piece in pieces {
            yield Ok::<_, std::io::Error>(piece);
            // Each piece goes out by itself.
            tokio::task::yield_now().await;
            if let Some(mut sign) = sign.take() {
                let _ = sign.wait_for(|given| *given).await;
            }
        }
        while let Some(alive) = hang {
            tokio::time::sleep(KEEP_ALIVE).await;
            yield Ok(Bytes::from_static(alive.as_bytes()));
        }
    };
    streamed(stream)
}

fn streamed(stream: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static) -> Response {
    let response = Response::builder().header("content-type", "text/event-stream");
    response.body(Body::from_stream(stream)).expect("the header is plain ASCII")
}

fn status(code: u16, retry_after: Option<&'static str>) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::builder().status(code);
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    response.body(Body::empty()).expect("the header is plain ASCII")
}

/// An event of OpenAI's that says a piece of text.
pub fn delta(text: &str) -> String {
    event(&json!({ "choices": [{ "delta": { "content": text }, "finish_reason": null }] }))
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}
