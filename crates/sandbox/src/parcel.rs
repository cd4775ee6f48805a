//! An event as it goes over the wire, and what is planned for it.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use reqwest::{Client, RequestBuilder, StatusCode};

use crate::record::Data;
use crate::render;
use crate::transit::Fate;

/// An event with its body: the same bytes at every attempt.
pub(crate) struct Parcel {
    pub(crate) event: String,
    pub(crate) kind: String,
    /// Seconds since the Unix epoch.
    pub(crate) created: i64,
    pub(crate) body: Bytes,
}

/// How one event is to be delivered.
pub(crate) struct Plan {
    pub(crate) event: String,
    pub(crate) duplicates: u32,
    pub(crate) forged_first: bool,
    pub(crate) fate: Fate,
    /// Whether it is not tried again once a delivery was lost.
    pub(crate) give_up: bool,
}

impl Parcel {
    pub(crate) fn pack(data: &Data, event: &str) -> Option<Self> {
        let event = data.events.get(event)?;
        // Indented, as Stripe sends it: a receiver that verifies re-encoded JSON fails here as it would there.
        let body = serde_json::to_vec_pretty(&render::event(event, 1)).expect("a JSON value can be written");
        Some(Self {
            event: event.id.clone(),
            kind: event.kind.clone(),
            created: event.created,
            body: body.into(),
        })
    }

    /// The request that carries it.
    pub(crate) fn request(
        &self,
        client: &Client,
        target: &str,
        signature: String,
        deadline: Duration,
    ) -> RequestBuilder {
        client
            .post(target)
            .timeout(deadline)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header(USER_AGENT, "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
            .header("stripe-signature", signature)
            .body(self.body.clone())
    }
}

/// Sends it, and gives the status of the answer if there is one in time.
pub(crate) async fn send(request: RequestBuilder) -> Option<StatusCode> {
    match request.send().await {
        Ok(response) => Some(response.status()),
        Err(error) => {
            // The address may carry a token, so it is left out.
            tracing::debug!(error = %error.without_url(), "webhook not reached");
            None
        }
    }
}
