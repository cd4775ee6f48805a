//! How a call of the provider can fail, and which failures may pass.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

/// Never carries the provider's own message: it may quote what was sent.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("the http client of the payment provider cannot be made")]
    Client,
    #[error("no connection to the payment provider")]
    Connect(#[source] reqwest::Error),
    #[error("the payment provider did not answer in time")]
    Timeout,
    #[error("the payment provider answered {status}, which may pass")]
    Busy { status: u16, retry_after: Option<Duration> },
    /// The provider has stored a failure under the idempotency key, or other parameters: under this key nothing
    /// will ever succeed.
    #[error("the idempotency key is used up")]
    KeySpent,
    #[error("the payment provider refused with {status} and code `{code}`")]
    Refused { status: u16, code: String },
    #[error("the payment provider's answer cannot be read")]
    Unreadable(#[source] serde_json::Error),
    #[error("the payment provider could not refund")]
    RefundFailed,
}

#[derive(Deserialize, Default)]
struct Answer {
    #[serde(default)]
    error: Body,
}

#[derive(Deserialize, Default)]
struct Body {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    code: Option<String>,
}

impl ProviderError {
    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            // An unreadable answer is asked for again under the same key.
            Self::Connect(_) | Self::Timeout | Self::Busy { .. } | Self::Unreadable(_) => true,
            Self::Client | Self::KeySpent | Self::Refused { .. } | Self::RefundFailed => false,
        }
    }

    /// Whether the provider may repeat this answer for as long as it keeps the idempotency key.
    pub(crate) fn spends_key(&self) -> bool {
        matches!(self, Self::KeySpent | Self::RefundFailed | Self::Refused { .. })
    }

    /// Whether the provider will never accept the call as it is. A key without the right is no such case: an operator
    /// mends it.
    pub(crate) fn for_good(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if !matches!(status, 401 | 403))
    }

    /// Whether the provider knows the account but not the object that was asked for.
    pub(crate) fn is_unknown_object(&self) -> bool {
        // The code tells it from the 404 of a wrong address.
        matches!(self, Self::Refused { status: 404, code } if code == "resource_missing")
    }

    /// Whether the customer's bank disputes what should be refunded.
    pub(crate) fn is_disputed(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "charge_disputed")
    }

    /// The wait that the provider asked for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(crate) fn from_transport(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Connect(error.without_url()) }
    }

    pub(crate) fn from_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let error = serde_json::from_slice::<Answer>(body).unwrap_or_default().error;
        let replayed = headers.get("idempotent-replayed").is_some_and(|value| value == "true");
        let other_parameters =
            status == StatusCode::BAD_REQUEST && error.kind.as_deref() == Some("idempotency_error");
        let passing = [StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];
        let passing = passing.contains(&status) || status.is_server_error();
        // What would pass does not once it is stored.
        if other_parameters || (replayed && passing) {
            return Self::KeySpent;
        }
        if passing {
            let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            return Self::Busy { status: status.as_u16(), retry_after: seconds.map(Duration::from_secs) };
        }
        let code: String = error.code.or(error.kind).unwrap_or_default();
        // A code is a word of the API; anything else is not repeated.
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let code = if code.len() <= 64 && code.bytes().all(word) { code } else { String::new() };
        Self::Refused { status: status.as_u16(), code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> ProviderError {
        let headers = headers.iter().map(|(name, value)| {
            (name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap())
        });
        ProviderError::from_answer(StatusCode::from_u16(status).unwrap(), &headers.collect(), body.as_bytes())
    }

    #[test]
    fn only_failures_that_may_pass_are_retried() {
        for status in [409, 429, 500, 502, 503] {
            assert!(answer(status, &[], "").retryable(), "{status}");
        }
        for status in [400, 401, 402, 403, 404] {
            assert!(!answer(status, &[], "").retryable(), "{status}");
        }
        let waiting = answer(429, &[("retry-after", "7")], "");
        assert_eq!(waiting.retry_after(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_key_with_a_stored_failure_or_other_parameters_is_spent() {
        let stored = answer(500, &[("idempotent-replayed", "true")], "{}");
        assert!(matches!(stored, ProviderError::KeySpent));
        let stored = answer(429, &[("idempotent-replayed", "true")], "{}");
        assert!(matches!(stored, ProviderError::KeySpent));
        let other = answer(400, &[], r#"{"error": {"type": "idempotency_error"}}"#);
        assert!(matches!(other, ProviderError::KeySpent));
        // The same type with 409 means that the first call still runs.
        let running = answer(409, &[], r#"{"error": {"type": "idempotency_error"}}"#);
        assert!(matches!(running, ProviderError::Busy { status: 409, .. }));
    }

    #[test]
    fn only_a_final_answer_spends_its_key() {
        assert!(answer(402, &[], "").spends_key());
        assert!(answer(500, &[("idempotent-replayed", "true")], "").spends_key());
        assert!(ProviderError::RefundFailed.spends_key());
        assert!(!answer(500, &[], "").spends_key());
        assert!(!ProviderError::Timeout.spends_key());
    }

    #[test]
    fn an_unknown_object_is_no_wrong_address() {
        let unknown = r#"{"error": {"type": "invalid_request_error", "code": "resource_missing"}}"#;
        assert!(answer(404, &[], unknown).is_unknown_object());
        assert!(!answer(404, &[], "not found").is_unknown_object());
        assert!(!answer(400, &[], unknown).is_unknown_object());
    }

    #[test]
    fn a_refusal_keeps_the_code_and_nothing_that_was_sent() {
        let refused =
            answer(400, &[], r#"{"error": {"code": "amount_too_small", "message": "ada@example.org"}}"#);
        assert_eq!(refused.to_string(), "the payment provider refused with 400 and code `amount_too_small`");
        let odd = answer(400, &[], r#"{"error": {"code": "no such ada@example.org"}}"#);
        assert!(!odd.to_string().contains("ada"));
    }
}
