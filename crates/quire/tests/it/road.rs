//! The way of events from the provider to the webhook, with a look at each that passes.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// An event on its way: the request's body and its signature, byte for byte.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The event's id at the provider.
    pub event: String,
    pub body: Bytes,
    pub signature: String,
}

/// A running road. It ends when it is dropped.
pub struct Road {
    pub url: String,
    acknowledged: Acknowledged,
    serving: JoinHandle<()>,
}

/// Event ids, and the SHA-256 of what was sent, in hex.
type Acknowledged = Arc<Mutex<BTreeMap<String, String>>>;

impl Road {
    /// `carry` delivers a parcel and gives the HTTP status that the provider gets to see.
    pub async fn start<F, Fut>(carry: F) -> Self
    where
        F: Fn(Parcel) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = u16> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhook", listener.local_addr().unwrap());
        let acknowledged = Acknowledged::default();
        let router = Router::new().route("/webhook", post(pass::<F, Fut>));
        let router = router.with_state((carry, acknowledged.clone()));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, acknowledged, serving }
    }

    /// Every event that the provider has an answer of 2xx for, and the SHA-256 of what was sent, in hex.
    pub fn acknowledged(&self) -> BTreeMap<String, String> {
        self.acknowledged.lock().unwrap().clone()
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass<F, Fut>(
    State((carry, acknowledged)): State<(F, Acknowledged)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode
where
    F: Fn(Parcel) -> Fut,
    Fut: Future<Output = u16>,
{
    let event: Value = serde_json::from_slice(&body).unwrap();
    let event = event["id"].as_str().unwrap().to_owned();
    let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
    let sha256 = hex::encode(Sha256::digest(&body));
    let status = StatusCode::from_u16(carry(Parcel { event: event.clone(), body, signature }).await).unwrap();
    if status.is_success() {
        acknowledged.lock().unwrap().insert(event, sha256);
    }
    status
}
