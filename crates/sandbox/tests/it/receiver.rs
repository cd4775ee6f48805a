//! A webhook endpoint that checks signatures itself, answers as it is told, and hands on what it got.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use quire_sandbox::signature::sign;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub const SECRET: &str = "whsec_test";

/// One request that the receiver got.
pub struct Delivery {
    pub signature: String,
    pub genuine: bool,
    pub body: Bytes,
}

impl Delivery {
    pub fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn kind(&self) -> String {
        self.event()["type"].as_str().unwrap().to_owned()
    }
}

pub struct Receiver {
    pub url: String,
    deliveries: UnboundedReceiver<Delivery>,
    answers: Answers,
}

type Answers = Arc<Mutex<VecDeque<StatusCode>>>;

impl Receiver {
    pub async fn start() -> Self {
        let (sender, deliveries) = unbounded_channel();
        let answers = Answers::default();
        let app = Router::new().route("/hook", post(take)).with_state((sender, answers.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, app).into_future());
        Self { url, deliveries, answers }
    }

    /// Answers the next requests with these, and all later ones with 200 or, if forged, 400.
    pub fn answer_with(&self, statuses: &[StatusCode]) {
        self.answers.lock().unwrap().extend(statuses);
    }

    pub async fn next(&mut self) -> Delivery {
        self.deliveries.recv().await.unwrap()
    }

    /// Exactly `count` deliveries, in the order of their arrival.
    pub async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(self.next().await);
        }
        taken
    }

    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }
}

async fn take(
    State((sender, answers)): State<(UnboundedSender<Delivery>, Answers)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
    let seconds = signature.split(',').next().unwrap().strip_prefix("t=").unwrap().parse().unwrap();
    let genuine = sign(SECRET, seconds, &body) == signature;
    let answer = answers.lock().unwrap().pop_front();
    sender.send(Delivery { signature, genuine, body }).unwrap();
    answer.unwrap_or(if genuine { StatusCode::OK } else { StatusCode::BAD_REQUEST })
}
