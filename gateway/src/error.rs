//! Failures as HTTP answers: FastAPI's shape by default, RFC 9457 for those who ask for it.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use quire_fault::{Fault, Kind, Violation};
use serde_json::{Map, Value, json};
use tonic::Status;

/// The machine-readable reason of every failure: stable, UPPER_SNAKE_CASE.
pub(crate) const REASON: &str = "x-quire-reason";
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A failure on its way to the client.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    fault: Fault,
    /// Where the fields of the violations stand: `body`, `query` or `path`.
    place: &'static str,
    /// What was sent, so that each violation can show its input.
    input: Value,
    headers: HeaderMap,
    /// The limits that refused.
    violated: Box<[String]>,
    /// Another status than the fault kind's, for what only HTTP knows.
    status: Option<StatusCode>,
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            fault,
            place: "body",
            input: Value::Null,
            headers: HeaderMap::new(),
            violated: Box::default(),
            status: None,
        }
    }

    /// A failure of HTTP itself, such as a method that a route does not have.
    pub(crate) fn http(status: StatusCode, reason: &str, message: impl Into<String>) -> Self {
        Self { status: Some(status), ..Self::new(Fault::new(Kind::Malformed, reason, message)) }
    }

    /// The body is not JSON; `offset` is where reading stopped, in bytes.
    pub(crate) fn json_invalid(offset: usize, cause: &str) -> Self {
        let fault = Fault::new(Kind::Invalid, "JSON_INVALID", "JSON decode error");
        let detail = json!([{
            "type": "json_invalid",
            "loc": ["body", offset],
            "msg": "JSON decode error",
            "input": {},
            "ctx": { "error": cause },
        }]);
        Self { input: detail, place: "", ..Self::new(fault) }
    }

    pub(crate) fn at(mut self, place: &'static str, input: Value) -> Self {
        self.place = place;
        self.input = input;
        self
    }

    pub(crate) fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Names the limits that refused, for programs.
    pub(crate) fn violating(mut self, policies: Vec<String>) -> Self {
        self.violated = policies.into();
        self
    }

    pub(crate) fn fault(&self) -> &Fault {
        &self.fault
    }

    fn status(&self) -> StatusCode {
        self.status.unwrap_or_else(|| self.fault.kind.http())
    }

    /// FastAPI's list: one object for each broken rule.
    fn violations(&self) -> Value {
        if self.place.is_empty() {
            return self.input.clone();
        }
        self.fault.violations.iter().map(|violation| self.violation(violation)).collect()
    }

    fn violation(&self, violation: &Violation) -> Value {
        let mut location = vec![json!(self.place)];
        let mut input = Some(&self.input);
        for part in violation.field.split('.').filter(|part| !part.is_empty()) {
            let place = part.parse::<usize>();
            location.push(place.as_ref().map_or_else(|_| json!(part), |place| json!(place)));
            input = input.and_then(|value| match &place {
                Ok(place) => value.get(*place),
                Err(_) => value.get(part),
            });
        }
        // pydantic shows the whole object when the field is missing in it.
        let input = input.unwrap_or(&self.input);
        let mut object = Map::new();
        object.insert("type".to_owned(), json!(violation.rule.kind()));
        object.insert("loc".to_owned(), Value::Array(location));
        object.insert("msg".to_owned(), json!(violation.rule.message()));
        object.insert("input".to_owned(), input.clone());
        if let Some(context) = violation.rule.context() {
            object.insert("ctx".to_owned(), context);
        }
        Value::Object(object)
    }

    /// The answer in RFC 9457's shape.
    pub(crate) fn problem(&self, request_id: &str) -> Response {
        let status = self.status();
        let mut body = json!({
            "type": format!("urn:quire:problem:{}", self.fault.reason.to_lowercase()),
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": self.fault.message,
            "reason": self.fault.reason,
            "request_id": request_id,
        });
        if self.fault.kind == Kind::Invalid {
            body["errors"] = self.violations();
        }
        if !self.violated.is_empty() {
            body["violated-policies"] = json!(self.violated);
        }
        let mut answer = (status, Json(body)).into_response();
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        self.add_headers(answer.headers_mut());
        answer
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        headers.extend(self.headers.clone());
        if let Ok(reason) = HeaderValue::from_str(&self.fault.reason) {
            headers.insert(REASON, reason);
        }
        if let Some(retry_after) = self.fault.retry_after {
            let seconds = retry_after.as_millis().div_ceil(1000).max(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        if self.fault.kind == Kind::Unauthenticated {
            // RFC 6750 section 3: no error code for a request that brought no token.
            let challenge = match self.fault.reason.as_str() {
                "TOKEN_MISSING" => "Bearer",
                _ => r#"Bearer error="invalid_token""#,
            };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        let fault = Fault::from(&status);
        if matches!(fault.kind, Kind::Internal | Kind::Unavailable | Kind::Deadline) {
            tracing::warn!(code = ?status.code(), reason = fault.reason, "a service did not answer as it should");
        }
        Self::new(fault)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let detail = match self.fault.kind {
            Kind::Invalid => self.violations(),
            _ => json!(self.fault.message),
        };
        let mut answer = (self.status(), Json(json!({ "detail": detail }))).into_response();
        self.add_headers(answer.headers_mut());
        // The middleware that knows the Accept header and the request id may write it anew.
        answer.extensions_mut().insert(self);
        answer
    }
}

#[cfg(test)]
mod tests {
    use quire_fault::Rule;

    use super::*;

    #[test]
    fn a_violation_shows_the_input_at_its_place() {
        let fault = Fault::invalid(vec![
            Violation::new("target_pages", Rule::GreaterThanEqual(3)),
            Violation::new("title", Rule::Missing),
            Violation::new("chapter_titles.1", Rule::StringTooShort(1)),
        ]);
        let sent = json!({ "target_pages": 2, "chapter_titles": ["a", ""] });
        let error = ApiError::new(fault).at("body", sent.clone());
        assert_eq!(
            error.violations(),
            json!([
                { "type": "greater_than_equal", "loc": ["body", "target_pages"],
                  "msg": "Input should be greater than or equal to 3", "input": 2, "ctx": { "ge": 3 } },
                { "type": "missing", "loc": ["body", "title"], "msg": "Field required", "input": sent },
                { "type": "string_too_short", "loc": ["body", "chapter_titles", 1],
                  "msg": "String should have at least 1 character", "input": "", "ctx": { "min_length": 1 } },
            ])
        );
    }
}
