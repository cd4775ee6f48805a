//! A language model, played: an OpenAI-compatible endpoint that does what the title of the document says, and one like
//! Anthropic's that refuses whatever it is asked.

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Its outline can never be used: the job fails.
pub const FAILS: &str = "A book that fails";
/// Its first section is written, the second never comes to its end: the job runs until it is cancelled.
pub const NEVER_ENDS: &str = "A book that never ends";

/// A running model. It ends when it is dropped.
pub struct Model {
    pub url: String,
    serving: JoinHandle<()>,
}

impl Model {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/messages", post(async || StatusCode::BAD_REQUEST));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, serving }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn complete(body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap();
    let asked = request["messages"][1]["content"].as_str().unwrap();
    if asked.contains(FAILS) {
        return says("I would rather not.");
    }
    if asked.starts_with("Write section 1.1 ") {
        return says("Paper was made of rags for six hundred years. Then it was made of wood.");
    }
    if asked.starts_with("Write section ") {
        let begun = Ok::<_, std::io::Error>(delta("This sentence has no "));
        return streamed(Body::from_stream(stream::iter([begun]).chain(stream::pending())));
    }
    says(r#"{"chapters":[{"title":"Paper","sections":["Rags","Wood"]}]}"#)
}

fn says(text: &str) -> Response {
    let end = json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] });
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 100, "completion_tokens": 20 } });
    streamed(Body::from(format!("{}data: {end}\n\ndata: {usage}\n\ndata: [DONE]\n\n", delta(text))))
}

fn delta(text: &str) -> String {
    let event = json!({ "choices": [{ "delta": { "content": text }, "finish_reason": null }] });
    format!("data: {event}\n\n")
}

fn streamed(body: Body) -> Response {
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}
