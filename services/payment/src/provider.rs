//! The client of the payment provider: Stripe, or anything that speaks its API.

mod error;
#[cfg(test)]
mod localstripe;
mod session;

use std::time::Duration;

use quire_clock::World;
use reqwest::{Client, Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tracing::Instrument;
use url::Url;

pub use error::ProviderError;
pub(crate) use session::{
    CheckoutSession, IntentStatus, PaymentIntent, PaymentStatus, Reference, SessionStatus,
};

use crate::backoff::full_jitter;
use crate::inbox::event::{ProviderRefund, Refund, RefundWord};

const DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// Tries of one call, all with the same idempotency key.
const TRIES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Where the provider is and how to sign in there.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    pub url: Url,
    pub api_key: SecretString,
}

/// Talks to the provider. Cheap to clone.
#[derive(Clone)]
pub struct Stripe {
    http: Client,
    base: String,
    api_key: SecretString,
    world: World,
}

/// Money that goes back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefundRequest<'a> {
    pub(crate) payment_id: &'a str,
    pub(crate) amount_minor: i64,
    pub(crate) order_id: &'a str,
    pub(crate) refund_id: &'a str,
}

/// One page of a list, newest first.
#[derive(Deserialize)]
pub(crate) struct Listing<T> {
    pub(crate) data: Vec<T>,
    #[serde(default)]
    pub(crate) has_more: bool,
}

#[derive(Deserialize)]
struct Ignored {}

impl Stripe {
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(settings: &ProviderSettings, world: World) -> Result<Self, ProviderError> {
        let mut builder = Client::builder()
            .timeout(DEADLINE)
            .connect_timeout(CONNECT_DEADLINE)
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&settings.url) {
            // A proxy of the environment cannot reach this machine's own ports.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|_| ProviderError::Client)?;
        let base = settings.url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http, base, api_key: settings.api_key.clone(), world })
    }

    /// Opens a hosted checkout. The same key and form answer the same session.
    pub(crate) async fn create_checkout_session(
        &self,
        idempotency_key: &str,
        form: &str,
    ) -> Result<CheckoutSession, ProviderError> {
        self.patiently("create_checkout_session", || {
            self.post("/v1/checkout/sessions", idempotency_key, form.to_owned())
        })
        .await
    }

    /// How a checkout stands now. Nothing: the provider has no such session.
    pub(crate) async fn find_checkout_session(
        &self,
        id: &str,
    ) -> Result<Option<CheckoutSession>, ProviderError> {
        let path = format!("/v1/checkout/sessions/{}", escape(id));
        known(self.patiently("retrieve_checkout_session", || self.request(Method::GET, &path)).await)
    }

    /// Closes a checkout that is open.
    ///
    /// # Errors
    /// Also when it is no longer open.
    pub(crate) async fn expire_checkout_session(&self, id: &str) -> Result<CheckoutSession, ProviderError> {
        let path = format!("/v1/checkout/sessions/{}/expire", escape(id));
        self.patiently("expire_checkout_session", || self.request(Method::POST, &path)).await
    }

    /// Makes a payment intent. The same key and form answer the same intent.
    pub(crate) async fn create_payment_intent(
        &self,
        idempotency_key: &str,
        form: &str,
    ) -> Result<PaymentIntent, ProviderError> {
        self.patiently("create_payment_intent", || {
            self.post("/v1/payment_intents", idempotency_key, form.to_owned())
        })
        .await
    }

    /// How an intent stands now, with its charge. Nothing: the provider has no such intent.
    pub(crate) async fn find_payment_intent(&self, id: &str) -> Result<Option<PaymentIntent>, ProviderError> {
        let path = format!("/v1/payment_intents/{}?expand[]=latest_charge", escape(id));
        known(self.patiently("retrieve_payment_intent", || self.request(Method::GET, &path)).await)
    }

    /// Keeps an intent from being paid.
    ///
    /// # Errors
    /// Also when it is paid or being paid.
    pub(crate) async fn cancel_payment_intent(&self, id: &str) -> Result<PaymentIntent, ProviderError> {
        let path = format!("/v1/payment_intents/{}/cancel", escape(id));
        self.patiently("cancel_payment_intent", || self.request(Method::POST, &path)).await
    }

    /// The events of some kinds since a moment, newest first: at most 100, before the event `before` if it is given.
    pub(crate) async fn list_events(
        &self,
        kinds: &[&str],
        since_seconds: i64,
        before: Option<&str>,
    ) -> Result<Listing<serde_json::Value>, ProviderError> {
        let since = since_seconds.to_string();
        let mut pairs = vec![("limit", "100"), ("created[gte]", since.as_str())];
        pairs.extend(kinds.iter().map(|kind| ("types[]", *kind)));
        pairs.extend(before.map(|before| ("starting_after", before)));
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let path = format!("/v1/events?{query}");
        self.patiently("list_events", || self.request(Method::GET, &path)).await
    }

    /// The refunds of a payment: at most 100, which no payment of ours reaches.
    pub(crate) async fn list_refunds(&self, payment_id: &str) -> Result<Vec<ProviderRefund>, ProviderError> {
        let path = format!("/v1/refunds?payment_intent={}&limit=100", escape(payment_id));
        let list: Listing<Refund> =
            self.patiently("list_refunds", || self.request(Method::GET, &path)).await?;
        Ok(list.data.into_iter().filter_map(Refund::word).collect())
    }

    /// Sends money back. One try: the caller keeps the wish and repeats it, with the same key unless the error spends
    /// it. Nothing: all of the payment is back already, in whatever way.
    ///
    /// # Errors
    /// Also when the provider says at once that the refund itself failed.
    pub(crate) async fn refund(
        &self,
        idempotency_key: &str,
        refund: RefundRequest<'_>,
    ) -> Result<Option<ProviderRefund>, ProviderError> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("payment_intent", refund.payment_id)
            .append_pair("amount", &refund.amount_minor.to_string())
            .append_pair("metadata[order_id]", refund.order_id)
            .append_pair("metadata[refund_id]", refund.refund_id)
            .finish();
        let request = self.post("/v1/refunds", idempotency_key, form);
        match self.call::<Refund>("refund", request).await {
            Ok(answer) => match answer.word() {
                Some(word) if word.word != RefundWord::Failed => Ok(Some(word)),
                _ => Err(ProviderError::RefundFailed),
            },
            // A refund whose answer was lost longer ago than keys are kept, or one made by hand.
            Err(ProviderError::Refused { code, .. }) if code == "charge_already_refunded" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the provider answers and accepts the key.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn ping(&self) -> Result<(), ProviderError> {
        let request = self.request(Method::GET, "/v1/balance");
        self.call::<Ignored>("balance", request).await.map(|_| ())
    }

    /// Repeats a call while the failure may pass.
    async fn patiently<T, F>(&self, operation: &'static str, build: F) -> Result<T, ProviderError>
    where
        T: DeserializeOwned,
        F: Fn() -> RequestBuilder,
    {
        let mut attempt = 0;
        loop {
            let error = match self.call(operation, build()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            attempt += 1;
            if !error.retryable() || attempt == TRIES {
                return Err(error);
            }
            let jitter = full_jitter(&self.world, FIRST_WAIT, LONGEST_WAIT, attempt);
            tokio::time::sleep(error.retry_after().map_or(jitter, |asked| asked.min(LONGEST_WAIT))).await;
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        request: RequestBuilder,
    ) -> Result<T, ProviderError> {
        let span = tracing::info_span!("stripe", otel.kind = "client", operation);
        async {
            let response = request.send().await.map_err(ProviderError::from_transport)?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.bytes().await.map_err(ProviderError::from_transport)?;
            if !status.is_success() {
                return Err(ProviderError::from_answer(status, &headers, &body));
            }
            serde_json::from_slice(&body).map_err(ProviderError::Unreadable)
        }
        .instrument(span)
        .await
    }

    fn post(&self, path: &str, idempotency_key: &str, form: String) -> RequestBuilder {
        self.request(Method::POST, path)
            .header("Idempotency-Key", idempotency_key)
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(self.api_key.expose_secret())
    }
}

/// An id as a part of an address.
fn escape(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes()).collect()
}

/// Tells an object that does not exist from an answer that did not come.
fn known<T>(answer: Result<T, ProviderError>) -> Result<Option<T>, ProviderError> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_unknown_object() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the address is on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
