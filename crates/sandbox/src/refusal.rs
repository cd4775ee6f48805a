//! What the API answers when it does not do what was asked, in Stripe's shape.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::methods::Failure;

/// A refused request.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    message: String,
    param: Option<String>,
    /// Further members of the error: the decline code, the object as it is now.
    more: Map<String, Value>,
    /// Whether the endpoint had begun its work. Only then is the answer kept under the idempotency key.
    pub(crate) executed: bool,
}

impl Refusal {
    /// A parameter is absent, malformed or unknown; found before anything was done.
    pub(crate) fn parameter(
        code: &'static str,
        param: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "invalid_request_error",
            code: Some(code),
            message: message.into(),
            param: Some(param.into()),
            more: Map::new(),
            executed: false,
        }
    }

    /// The request is well formed, but the state of the object forbids it.
    pub(crate) fn state(code: &'static str, param: Option<&str>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "invalid_request_error",
            code: Some(code),
            message: message.into(),
            param: param.map(str::to_owned),
            more: Map::new(),
            executed: true,
        }
    }

    /// No object has this id.
    pub(crate) fn missing(kind: &str, param: &str, id: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            kind: "invalid_request_error",
            code: Some("resource_missing"),
            message: format!("No such {kind}: '{id}'"),
            param: Some(param.to_owned()),
            more: Map::new(),
            executed: false,
        }
    }

    /// Two parameters that say the same thing.
    pub(crate) fn exclusive(first: &str, second: &str) -> Self {
        let message = format!("You may only specify one of these parameters: {first}, {second}.");
        Self::parameter("parameters_exclusive", first, message)
    }

    /// The payment failed; with the payment intent as it is now.
    pub(crate) fn payment(failure: Failure, intent: Value) -> Self {
        Self {
            status: StatusCode::PAYMENT_REQUIRED,
            kind: failure.kind(),
            code: Some(failure.code()),
            message: failure.message().to_owned(),
            param: None,
            more: Map::new(),
            executed: true,
        }
        .with("decline_code", json!(failure.decline_code()))
        .with("payment_intent", intent)
    }

    /// A publishable key was presented where only a secret one does.
    pub(crate) fn secret_key_required() -> Self {
        Self::plain(
            StatusCode::FORBIDDEN,
            "invalid_request_error",
            Some("secret_key_required"),
            "This API call cannot be made with a publishable API key. Please use a secret API key.",
        )
    }

    /// An error of the provider itself, which it keeps under the idempotency key.
    pub(crate) fn stored_error() -> Self {
        let message = "Sorry! There was an error while talking to one of our backends.";
        Self { executed: true, ..Self::plain(StatusCode::INTERNAL_SERVER_ERROR, "api_error", None, message) }
    }

    /// The key is absent or wrong. The message never repeats what was presented.
    pub(crate) fn unauthenticated(message: &str) -> Self {
        Self::plain(StatusCode::UNAUTHORIZED, "invalid_request_error", None, message)
    }

    /// The idempotency key was used before with other parameters.
    pub(crate) fn other_parameters() -> Self {
        Self::plain(
            StatusCode::BAD_REQUEST,
            "idempotency_error",
            None,
            "Keys for idempotent requests can only be used with the same parameters they were first used with.",
        )
    }

    /// A request with the same idempotency key is being carried out.
    pub(crate) fn running() -> Self {
        Self::plain(
            StatusCode::CONFLICT,
            "idempotency_error",
            Some("idempotency_key_in_use"),
            "There is currently another in-progress request using this idempotency key.",
        )
    }

    /// The request as such cannot be read: body too large, key too long, unknown address.
    pub(crate) fn unreadable(status: StatusCode, message: &str) -> Self {
        Self::plain(status, "invalid_request_error", None, message)
    }

    /// The change was made in memory but could not be written to the state file.
    pub(crate) fn not_saved() -> Self {
        Self::plain(StatusCode::INTERNAL_SERVER_ERROR, "api_error", None, "The state could not be written.")
    }

    /// The JSON body.
    pub(crate) fn body(&self) -> Value {
        let mut error = json!({ "type": self.kind, "message": self.message });
        if let Some(code) = self.code {
            error["code"] = json!(code);
        }
        if let Some(param) = &self.param {
            error["param"] = json!(param);
        }
        for (name, value) in &self.more {
            error[name] = value.clone();
        }
        json!({ "error": error })
    }

    /// The code, or the type where there is none.
    pub(crate) fn code(&self) -> &'static str {
        self.code.unwrap_or(self.kind)
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Adds a member to the error.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    fn plain(status: StatusCode, kind: &'static str, code: Option<&'static str>, message: &str) -> Self {
        Self {
            status,
            kind,
            code,
            message: message.to_owned(),
            param: None,
            more: Map::new(),
            executed: false,
        }
    }
}
