//! A language model, played: an OpenAI-compatible endpoint that says what the test tells it to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What the model does with one call.
#[derive(Clone)]
pub enum Reply {
    /// Says the pieces, each in an event of its own, and ends well.
    Says(Vec<String>),
    /// The same, but ends for lack of room.
    Cut(String),
    /// Sends these bytes, in these pieces, and closes.
    Raw(Vec<Bytes>),
    /// Says this and then nothing more, until the caller goes away.
    Hangs(String),
    /// Says the first text, waits for the sign, says the second and ends well.
    Waits(String, watch::Receiver<bool>, String),
    Refuses(u16, Option<&'static str>),
}

impl Reply {
    pub fn says(text: &str) -> Self {
        Self::Says(vec![text.to_owned()])
    }
}

/// `outline`, or the key of a section: what is asked for.
type Asked = String;
type Script = Box<dyn Fn(&str, usize) -> Reply + Send + Sync>;

#[derive(Clone)]
pub struct FakeModel {
    /// How often each thing was asked for.
    calls: watch::Sender<HashMap<Asked, usize>>,
    script: Arc<Script>,
    pub requests: Arc<Mutex<Vec<Value>>>,
    pub url: String,
}

impl FakeModel {
    /// `script` gets what is asked for, and the number of this call for it, counted from 1.
    pub async fn start(script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let model = Self {
            calls: watch::channel(HashMap::new()).0,
            script: Arc::new(Box::new(script)),
            requests: Arc::default(),
            url,
        };
        let router = Router::new().route("/v1/chat/completions", post(complete)).with_state(model.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        model
    }

    /// Waits until it was asked for something.
    pub async fn was_asked(&self, asked: &str) {
        let mut calls = self.calls.subscribe();
        calls.wait_for(|calls| calls.contains_key(asked)).await.unwrap();
    }

    pub fn calls(&self, asked: &str) -> usize {
        self.calls.borrow().get(asked).copied().unwrap_or_default()
    }
}

/// Two chapters with two sections each, in a fence.
pub const OUTLINE: &str = "```json\n{\"chapters\":[{\"title\":\"Paper\",\"sections\":[\"Rags\",\"Wood\"]},\
    {\"title\":\"Ink\",\"sections\":[\"Soot\",\"Oil\"]}]}\n```";
pub const KEYS: [&str; 4] = ["1.1", "1.2", "2.1", "2.2"];

/// The text of a section that has nothing special about it.
pub fn plain(key: &str) -> String {
    format!("The text of section {key}. It is *short*.")
}

/// Outline and plain sections.
pub fn willing(asked: &str, _: usize) -> Reply {
    match asked {
        "outline" => Reply::says(OUTLINE),
        key => Reply::says(&plain(key)),
    }
}

async fn complete(State(model): State<FakeModel>, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap();
    let ask = request["messages"][1]["content"].as_str().unwrap();
    let asked = match ask.strip_prefix("Write section ") {
        Some(rest) => rest.split(' ').next().unwrap().to_owned(),
        None => "outline".to_owned(),
    };
    model.requests.lock().unwrap().push(request);
    let mut number = 0;
    model.calls.send_modify(|calls| {
        let count = calls.entry(asked.clone()).or_default();
        *count += 1;
        number = *count;
    });
    let reply = (model.script)(&asked, number);
    answer(reply)
}

fn answer(reply: Reply) -> Response {
    let end = |reason: &str| {
        format!(
            "{}{}data: [DONE]\n\n",
            event(&json!({ "choices": [{ "delta": {}, "finish_reason": reason }] })),
            event(&json!({ "choices": [], "usage": { "prompt_tokens": 100, "completion_tokens": 20 } })),
        )
    };
    let mut sign = None;
    let (pieces, hang): (Vec<Bytes>, bool) = match reply {
        Reply::Says(texts) => {
            let mut pieces: Vec<Bytes> = texts.iter().map(|text| Bytes::from(delta(text))).collect();
            pieces.push(Bytes::from(end("stop")));
            (pieces, false)
        }
        Reply::Cut(text) => (vec![Bytes::from(delta(&text)), Bytes::from(end("length"))], false),
        Reply::Raw(pieces) => (pieces, false),
        Reply::Hangs(text) => (vec![Bytes::from(delta(&text))], true),
        Reply::Waits(first, released, second) => {
            sign = Some(released);
            (vec![Bytes::from(delta(&first)), Bytes::from(delta(&second) + &end("stop"))], false)
        }
        Reply::Refuses(status, retry_after) => {
            let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
            if let Some(seconds) = retry_after {
                response = response.header("retry-after", seconds);
            }
            return response.body(Body::empty()).unwrap();
        }
    };
    let stream = async_stream::stream! {
        for piece in pieces {
            yield Ok::<_, std::io::Error>(piece);
            // Each piece goes out by itself.
            tokio::task::yield_now().await;
            if let Some(mut sign) = sign.take() {
                let _ = sign.wait_for(|given| *given).await;
            }
        }
        if hang {
            std::future::pending::<()>().await;
        }
    };
    Response::builder().header("content-type", "text/event-stream").body(Body::from_stream(stream)).unwrap()
}

/// An event that says a piece of text.
pub fn delta(text: &str) -> String {
    event(&json!({ "choices": [{ "delta": { "content": text }, "finish_reason": null }] }))
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}
