//! A merchant with a running sandbox.

use std::sync::Arc;
use std::time::Duration;

use quire_clock::{ManualClock, Timestamp, World};
use quire_sandbox::{Retry, Sandbox, SandboxConfig, SandboxHandle};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::receiver::SECRET;

pub const KEY: &str = "sk_test_shop";
pub const START: i64 = 1_800_000_000;

/// A session of two items, 2 × 50 + 25 cents.
pub const ORDER: &str = "mode=payment&line_items[0][price_data][currency]=usd\
    &line_items[0][price_data][unit_amount]=50&line_items[0][price_data][product_data][name]=Pages\
    &line_items[0][quantity]=2&line_items[1][price_data][currency]=usd\
    &line_items[1][price_data][unit_amount]=25&line_items[1][price_data][product_data][name]=Cover+<b>\
    &line_items[1][quantity]=1&metadata[order_id]=o-1&payment_intent_data[metadata][order_id]=o-1\
    &client_reference_id=o-1&customer_email=ada@example.org\
    &success_url=https://shop.example/done?s={CHECKOUT_SESSION_ID}&cancel_url=https://shop.example/cart";

pub const INTENT: &str = "amount=1250&currency=eur&metadata[order_id]=o-1&description=12+pages\
    &automatic_payment_methods[enabled]=true";

pub struct Shop {
    pub sandbox: SandboxHandle,
    pub clock: Arc<ManualClock>,
    pub http: reqwest::Client,
    shutdown: CancellationToken,
}

impl Shop {
    pub async fn open() -> Self {
        Self::open_with(config()).await
    }

    pub async fn open_with(config: SandboxConfig) -> Self {
        Self::open_at(config, Timestamp::from_unix_seconds(START)).await
    }

    /// A shop whose clock begins at a moment.
    pub async fn open_at(config: SandboxConfig, start: Timestamp) -> Self {
        let clock = ManualClock::at(start);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shutdown = CancellationToken::new();
        let world = World::with_clock(clock.clone());
        let sandbox = Sandbox::start(listener, config, world, shutdown.clone()).await.unwrap();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        Self { sandbox, clock, http: http.build().unwrap(), shutdown }
    }

    pub async fn close(self) {
        self.shutdown.cancel();
        self.sandbox.join().await.unwrap();
    }

    pub fn post(&self, path: &str, form: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.sandbox.url());
        self.http
            .post(url)
            .bearer_auth(KEY)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned())
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        let url = format!("{}{path}", self.sandbox.url());
        answer(self.http.get(url).bearer_auth(KEY).send().await.unwrap()).await
    }

    /// Posts, and expects success.
    pub async fn make(&self, path: &str, form: &str) -> Value {
        let (status, body) = answer(self.post(path, form).send().await.unwrap()).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Posts, and expects a refusal.
    pub async fn refused(&self, path: &str, form: &str) -> (StatusCode, Value) {
        let (status, body) = answer(self.post(path, form).send().await.unwrap()).await;
        assert!(status.is_client_error(), "{status} {body}");
        (status, body["error"].clone())
    }

    pub async fn session(&self) -> String {
        id_of(&self.make("/v1/checkout/sessions", ORDER).await)
    }

    /// The buyer presses a button on the hosted page.
    pub async fn press(&self, session: &str, action: &str) -> Response {
        let url = format!("{}/pay/{session}", self.sandbox.url());
        self.http.post(url).body(format!("action={action}")).send().await.unwrap()
    }

    /// A session that the merchant has expired, which makes one event.
    pub async fn expired(&self) -> String {
        let session = self.session().await;
        self.make(&format!("/v1/checkout/sessions/{session}/expire"), "").await;
        session
    }

    /// A payment intent over 12.50 EUR.
    pub async fn intent(&self) -> Value {
        self.make("/v1/payment_intents", INTENT).await
    }

    /// The merchant confirms an intent with a test payment method.
    pub async fn confirm(&self, intent: &str, method: &str) -> Value {
        let path = format!("/v1/payment_intents/{intent}/confirm");
        self.make(&path, &format!("payment_method={method}")).await
    }

    /// An intent that was paid with a test payment method: its id and that of its charge.
    pub async fn charged(&self, method: &str) -> (String, String) {
        let intent = id_of(&self.intent().await);
        let paid = self.confirm(&intent, method).await;
        assert_eq!(paid["status"], "succeeded", "{paid}");
        (intent, paid["latest_charge"].as_str().unwrap().to_owned())
    }

    /// The types of all events, oldest first.
    pub async fn kinds(&self) -> Vec<String> {
        let (_, events) = self.get("/v1/events?limit=100").await;
        let events = events["data"].as_array().unwrap().iter().rev();
        events.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }

    /// Posts JSON to a control route.
    pub async fn control(&self, path: &str, body: Value) -> (StatusCode, Value) {
        answer(self.post(path, &body.to_string()).send().await.unwrap()).await
    }

    /// A paid session, and its payment intent.
    pub async fn paid(&self) -> (String, String) {
        let session = self.session().await;
        assert_eq!(self.press(&session, "pay").await.status(), 303);
        let (_, body) = self.get(&format!("/v1/checkout/sessions/{session}")).await;
        (session, body["payment_intent"].as_str().unwrap().to_owned())
    }
}

pub fn config() -> SandboxConfig {
    SandboxConfig {
        api_keys: vec!["sk_test_other".to_owned(), KEY.to_owned()],
        webhook_secrets: vec![SECRET.to_owned()],
        retry: Retry { first_wait: Duration::from_millis(1), ..Retry::default() },
        ..SandboxConfig::default()
    }
}

pub async fn answer(response: Response) -> (StatusCode, Value) {
    (response.status(), response.json().await.unwrap())
}

pub fn id_of(object: &Value) -> String {
    object["id"].as_str().unwrap().to_owned()
}

pub fn ids(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(id_of).collect()
}
