//! The `Idempotency-Key` header of requests that make something.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use quire_fault::{Fault, Rule, Violation};
use serde_json::json;
use tonic::metadata::MetadataMap;

use crate::error::ApiError;

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is the repetition of an earlier one.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// What services call the field.
const FIELD: &str = "idempotency_key";
const NAME: &str = "Idempotency-Key";
const MAX_KEY: usize = 255;

/// The key that a client has chosen; empty for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else {
            return Ok(Self(String::new()));
        };
        if values.next().is_some() {
            return Err(refused("one Idempotency-Key at most is accepted", ""));
        }
        let text = value.to_str().unwrap_or_default().trim();
        let key = plain(text).filter(|key| acceptable(key));
        let key = key.ok_or_else(|| {
            refused("1 to 255 visible ASCII characters are accepted, with or without quotation marks", text)
        })?;
        Ok(Self(key))
    }
}

impl IdempotencyKey {
    /// A service's failure, with what is wrong about the key shown where it was sent.
    pub(crate) fn blame(&self, error: ApiError) -> ApiError {
        let mut fault = error.fault().clone();
        if fault.violations.iter().all(|violation| violation.field != FIELD) {
            return error;
        }
        for violation in &mut fault.violations {
            NAME.clone_into(&mut violation.field);
        }
        ApiError::new(fault).at("header", json!({ NAME: self.0 }))
    }
}

/// The draft has a structured field: a string in quotation marks. Many clients send it bare.
fn plain(text: &str) -> Option<String> {
    let Some(quoted) = text.strip_prefix('"') else {
        return Some(text.to_owned());
    };
    let quoted = quoted.strip_suffix('"')?;
    let mut key = String::new();
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => key.push(letters.next().filter(|next| matches!(next, '"' | '\\'))?),
            '"' => return None,
            letter => key.push(letter),
        }
    }
    Some(key)
}

fn acceptable(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

fn refused(sentence: &str, sent: &str) -> ApiError {
    let violation = Violation::new(NAME, Rule::Value(sentence.to_owned()));
    ApiError::new(Fault::invalid(vec![violation])).at("header", json!({ NAME: sent }))
}

/// The headers of an answer: whether it is a repetition.
pub(crate) fn replayed(metadata: &MetadataMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if metadata.get(REPLAYED.as_str()).is_some_and(|value| value == "true") {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_with_and_without_quotation_marks() {
        assert_eq!(plain("8e03978e"), Some("8e03978e".to_owned()));
        assert_eq!(plain(r#""8e03978e""#), Some("8e03978e".to_owned()));
        assert_eq!(plain(r#""a\"b\\c""#), Some(r#"a"b\c"#.to_owned()));
        for broken in [r#""open"#, r#""a"b""#, r#""a\b""#, r#"""#] {
            assert_eq!(plain(broken), None, "{broken}");
        }
    }

    #[test]
    fn keys_are_visible_ascii() {
        assert!(acceptable("k"));
        assert!(acceptable(&"k".repeat(255)));
        for key in ["", "two words", "é", &"k".repeat(256)] {
            assert!(!acceptable(key), "{key}");
        }
    }
}
