//! The body of a control request: JSON, whatever its content type says, so that a bare `curl -d` does.

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::refusal::Refusal;

const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the body says. No body is the same as an empty object.
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let body = to_bytes(request.into_body(), MAX_BODY_BYTES).await;
        let body =
            body.map_err(|_| Refusal::unreadable(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."))?;
        let body = if body.is_empty() { b"{}".as_slice() } else { &body };
        serde_json::from_slice(body).map(Self).map_err(|error| explain(&error))
    }
}

/// What is wrong, without what was sent: it may be a secret. The names of members are no secrets.
fn explain(error: &serde_json::Error) -> Refusal {
    if error.classify() != Category::Data {
        let message = format!("The body is not JSON: look at line {}.", error.line());
        return Refusal::unreadable(StatusCode::BAD_REQUEST, &message);
    }
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let named = ["unknown field", "unknown variant", "missing field"];
    if named.iter().any(|start| text.starts_with(start)) {
        return Refusal::unreadable(StatusCode::BAD_REQUEST, &format!("The body cannot be used: {text}."));
    }
    let expected = text.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
    let message = format!(
        "The body cannot be used: {expected} is expected at line {}, column {}.",
        error.line(),
        error.column()
    );
    Refusal::unreadable(StatusCode::BAD_REQUEST, &message)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::behaviour::Behaviour;
    use crate::disputes::NewDispute;

    fn message<T: DeserializeOwned>(body: &str) -> String {
        let Err(error) = serde_json::from_str::<T>(body) else { panic!("{body} was taken") };
        let body: Value = explain(&error).body();
        body["error"]["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_mistake_is_explained_without_repeating_values() {
        let unknown = message::<Behaviour>(r#"{"duplicate": 3}"#);
        assert!(unknown.contains("unknown field `duplicate`, expected one of `duplicates`"), "{unknown}");
        let wrong = message::<Behaviour>(r#"{"seed": "whsec_mine"}"#);
        assert_eq!(wrong, "The body cannot be used: u64 is expected at line 1, column 21.");
        assert!(message::<NewDispute>("{}").contains("missing field `payment`"));
        assert_eq!(message::<Behaviour>("{seed"), "The body is not JSON: look at line 1.");
    }
}
