//! Something behind the gateway that speaks just enough gRPC to answer every call with one status.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Response};
use tokio::net::TcpListener;

/// A call as it came in.
#[derive(Debug, Clone)]
pub struct Call {
    pub path: String,
    pub headers: HeaderMap,
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
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

#[derive(Clone)]
pub struct Upstream {
    pub url: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Upstream {
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let log = calls.clone();
        let service = Router::new().fallback(move |request: Request| {
            let call = Call { path: request.uri().path().to_owned(), headers: request.headers().clone() };
            log.lock().unwrap().push(call);
            async move {
                match behaviour {
                    Behaviour::Fail(code) => Response::builder()
                        .header("content-type", "application/grpc")
                        .header("grpc-status", code.to_string())
                        .header("grpc-message", "the password is hunter2")
                        .body(Body::empty())
                        .unwrap(),
                    Behaviour::Freeze => std::future::pending().await,
                }
            }
        });
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { url, calls }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

/// An address where nothing listens.
pub async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
