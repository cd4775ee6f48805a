//! Lists: their query parameters.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use quire_clock::Timestamp;
use quire_fault::{Fault, Rule, Violation};
use serde_json::{Map, Value, json};

use crate::error::{ApiError, ApiResult};

/// The query string, as it was sent.
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let pairs = pairs
            .map_err(|_| ApiError::new(Fault::invalid_field("", Rule::DictType)).at("query", json!(null)))?;
        Ok(Self(pairs.0))
    }
}

impl Parameters {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// # Errors
    /// Names each of these that is not there.
    pub(crate) fn required(&self, names: &[&str]) -> ApiResult<()> {
        let missing = names.iter().filter(|name| self.text(name).is_none());
        let missing: Vec<_> = missing.map(|name| Violation::new(name, Rule::Missing)).collect();
        if missing.is_empty() { Ok(()) } else { Err(self.blame(Fault::invalid(missing))) }
    }

    /// A whole number, if the parameter is there.
    pub(crate) fn integer(&self, name: &str) -> ApiResult<Option<i32>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.trim().parse::<i64>() {
            Ok(number) => {
                Ok(Some(i32::try_from(number).unwrap_or(if number > 0 { i32::MAX } else { i32::MIN })))
            }
            Err(_) => Err(self.blame(Fault::invalid_field(name, Rule::IntParsing))),
        }
    }

    /// An RFC 3339 moment, if the parameter is there.
    pub(crate) fn moment(&self, name: &str) -> ApiResult<Option<prost_types::Timestamp>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match Timestamp::parse_rfc3339(text.trim()) {
            Ok(moment) => Ok(Some(quire_proto::timestamp(moment.unix_micros()))),
            Err(_) => {
                // A plus sign in a query is a space.
                let sentence =
                    "an RFC 3339 moment such as 2026-11-23T20:53:20Z is accepted, with a + written as %2B";
                Err(self.blame(Fault::invalid_field(name, Rule::Value(sentence.to_owned()))))
            }
        }
    }

    /// `page_size` and `page_token`; both may be absent.
    pub(crate) fn page(&self) -> ApiResult<(i32, String)> {
        let size = self.integer("page_size")?.unwrap_or(0);
        Ok((size, self.text("page_token").unwrap_or_default().to_owned()))
    }

    /// A failure that shows what was sent.
    pub(crate) fn blame(&self, error: impl Into<ApiError>) -> ApiError {
        let sent: Map<String, Value> =
            self.0.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        error.into().at("query", Value::Object(sent))
    }
}
