//! The payment provider in the test's own process: it lives on when the system it sends its events to is killed.

use std::time::Duration;

use quire_clock::World;
use quire_payment::config::DEVELOPMENT_API_KEY;
use quire_sandbox::{Behaviour, Retry, Sandbox, SandboxConfig, SandboxHandle};
use reqwest::redirect::Policy;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::answer::Answer;
use crate::system::WEBHOOK_SECRET;

/// Impatient, so that a system that is up again hears soon what it missed.
const RETRY: Retry = Retry {
    first_wait: Duration::from_millis(50),
    longest_wait: Duration::from_millis(400),
    give_up_after: Duration::from_secs(3600),
    deadline: Duration::from_secs(10),
};

/// A running provider. It ends when it is dropped.
pub struct Till {
    pub sandbox: SandboxHandle,
    http: reqwest::Client,
    _running: DropGuard,
}

impl Till {
    /// It sends its events to `webhook_url`.
    pub async fn start(webhook_url: &str, behaviour: Behaviour) -> Self {
        let config = SandboxConfig {
            api_keys: vec![DEVELOPMENT_API_KEY.to_owned()],
            webhook_url: Some(webhook_url.to_owned()),
            webhook_secrets: vec![WEBHOOK_SECRET.to_owned()],
            behaviour,
            retry: RETRY,
            ..SandboxConfig::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let running = CancellationToken::new();
        let sandbox = Sandbox::start(listener, config, World::system(), running.clone()).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        Self { sandbox, http, _running: running.drop_guard() }
    }

    pub fn url(&self) -> &str {
        self.sandbox.url()
    }

    /// Presses the button on the hosted page.
    pub async fn pay(&self, checkout_url: &str) {
        let pressed = self.http.post(checkout_url).form(&[("action", "pay")]);
        Answer::to(pressed).await.with_status(303);
    }

    /// The amounts of all refunds so far, in minor units.
    pub async fn refunds(&self) -> Vec<i64> {
        let list = self.list("refunds").await;
        list.iter().map(|refund| refund["amount"].as_i64().unwrap()).collect()
    }

    /// Every object of a kind, such as `payment_intents`.
    pub async fn list(&self, kind: &str) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let mut query = vec![("limit", "100".to_owned())];
            if let Some(last) = all.last() {
                query.push(("starting_after", last["id"].as_str().unwrap().to_owned()));
            }
            let request = self.http.get(format!("{}/v1/{kind}", self.url())).query(&query);
            let page = Answer::to(request.bearer_auth(DEVELOPMENT_API_KEY)).await.with_status(200).json();
            all.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["has_more"] == false {
                return all;
            }
        }
    }
}
