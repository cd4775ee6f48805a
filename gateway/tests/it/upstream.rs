//! Something behind the gateway that speaks just enough gRPC to answer every call with one status, and some calls
//! with a message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tokio::net::TcpListener;

/// What the gateway asks auth about on its own account, whenever it likes.
const OWN: [&str; 4] = ["WatchRevocations", "ListSigningKeys", "CheckSession", "ConfirmGenerations"];
/// Answered with one message and then kept open.
const STREAMS: [&str; 2] = ["WatchRevocations", "WatchJob"];
/// gRPC puts one byte and a length before each message.
const FRAME: usize = 5;

/// A call as it came in.
#[derive(Debug, Clone)]
pub struct Call {
    pub path: String,
    pub headers: HeaderMap,
    body: Bytes,
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The message that was sent.
    pub fn message<M: Message + Default>(&self) -> M {
        M::decode(&self.body[FRAME..]).unwrap()
    }

    fn method(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// What the fake service does with a call.
#[derive(Debug, Clone, Copy)]
pub enum Behaviour {
    /// Answers with this google.rpc.Code.
    Fail(u16),
    /// Takes the call and never answers.
    Freeze,
}

/// Answers by the name of the method.
pub type Answers = HashMap<&'static str, Vec<u8>>;

#[derive(Clone)]
pub struct Upstream {
    pub url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    answers: Arc<Mutex<Answers>>,
}

impl Upstream {
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::answering(Answers::new(), behaviour).await
    }

    /// Answers some methods with a message, all others with `PERMISSION_DENIED`.
    pub async fn with(answers: Answers) -> Self {
        Self::answering(answers, Behaviour::Fail(7)).await
    }

    async fn answering(answers: Answers, otherwise: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let log = calls.clone();
        let answers = Arc::new(Mutex::new(answers));
        let book = answers.clone();
        let service = Router::new().fallback(move |request: Request| {
            let (log, book) = (log.clone(), book.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let call = Call { path: parts.uri.path().to_owned(), headers: parts.headers, body };
                let answer = book.lock().unwrap().get(call.method()).cloned();
                let stream = STREAMS.contains(&call.method());
                log.lock().unwrap().push(call);
                match (answer, otherwise) {
                    (Some(message), _) => success(&message, stream),
                    (None, Behaviour::Fail(code)) => Response::builder()
                        .header("content-type", "application/grpc")
                        .header("grpc-status", code.to_string())
                        .header("grpc-message", "the password is hunter2")
                        .body(Body::empty())
                        .unwrap(),
                    (None, Behaviour::Freeze) => std::future::pending().await,
                }
            }
        });
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { url, calls, answers }
    }

    /// Answers a method from now on.
    pub fn answer(&self, method: &'static str, message: &impl Message) {
        self.answers.lock().unwrap().insert(method, message.encode_to_vec());
    }

    /// The calls that were made for a client.
    pub fn calls(&self) -> Vec<Call> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|call| !OWN.contains(&call.method())).cloned().collect()
    }
}

fn success(message: &[u8], stays_open: bool) -> Response<Body> {
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(body)).with_trailers(async move {
        if stays_open {
            std::future::pending::<()>().await;
        }
        Some(Ok(trailers))
    });
    Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}

/// An address where nothing listens.
pub async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
