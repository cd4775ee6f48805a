//! The closed list of failure kinds, and its one mapping to google.rpc and to HTTP.
//!
//! A service's error enum maps once to a [`Fault`]; a fault maps once to a [`tonic::Status`] with rich
//! details (`ErrorInfo`, `BadRequest`, `RetryInfo`); the gateway reads the status back into a fault and maps
//! it once to an HTTP status. Nothing else in Quire chooses a status code.

mod kind;
mod status;
mod violation;

use std::collections::HashMap;
use std::time::Duration;

pub use kind::Kind;
pub use status::DOMAIN;
pub use violation::{Rule, Violation};

/// A failure as a caller may see it: no internal text, no secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub kind: Kind,
    /// Stable and machine-readable, UPPER_SNAKE_CASE: `DOCUMENT_NOT_FOUND`. Clients may match on it.
    pub reason: String,
    /// One plain sentence, lowercase, no final dot.
    pub message: String,
    /// Every broken rule of the request, in field order. Only with [`Kind::Invalid`].
    pub violations: Vec<Violation>,
    /// When a retry may succeed.
    pub retry_after: Option<Duration>,
    /// Values that belong to the reason, such as the honest maximum of pages.
    pub metadata: HashMap<String, String>,
}

impl Fault {
    pub fn new(kind: Kind, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            violations: Vec::new(),
            retry_after: None,
            metadata: HashMap::new(),
        }
    }

    /// The request breaks one or more rules; answered with 422 and all of them.
    pub fn invalid(violations: Vec<Violation>) -> Self {
        let message = match violations.first() {
            Some(first) => format!("{}: {}", first.field, first.rule.message()),
            None => "the request breaks a rule".to_owned(),
        };
        Self { violations, ..Self::new(Kind::Invalid, "VALIDATION_FAILED", message) }
    }

    /// One broken rule.
    pub fn invalid_field(field: &str, rule: Rule) -> Self {
        Self::invalid(vec![Violation::new(field, rule)])
    }

    /// Our own failure. The cause is logged where it is mapped, never shown.
    pub fn internal() -> Self {
        Self::new(Kind::Internal, "INTERNAL", "internal error")
    }

    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    pub fn with_metadata(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }
}

/// Logs an internal cause with its whole chain, once, at the boundary where it turns into a fault.
pub fn log_internal(service: &str, error: &(dyn std::error::Error + 'static)) {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain.push_str(": ");
        chain.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::error!(service, error = %chain, "request failed");
}
