//! Reads a JSON body field by field, so that every mistake is found, not only the first.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use quire_fault::{Fault, Kind, Rule, Violation};
use serde_json::{Map, Value};

use crate::error::{ApiError, ApiResult};

/// Larger JSON bodies are refused before they are read.
pub(crate) const MAX_JSON_BYTES: usize = 64 * 1024;

/// What a route accepts instead, for the message to those who send more.
#[derive(Clone, Copy)]
pub(crate) struct JsonLimit(pub usize);

/// A JSON object being read. Fields that have the wrong shape are noted and read as absent.
pub(crate) struct Body {
    object: Map<String, Value>,
    violations: Vec<Violation>,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type =
            media_type.unwrap_or("application/json").split(';').next().unwrap_or_default().trim();
        let json = media_type.eq_ignore_ascii_case("application/json") || media_type.ends_with("+json");
        if !json {
            let message = "the body must be JSON: send Content-Type: application/json";
            return Err(ApiError::http(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                message,
            ));
        }
        let limit = request.extensions().get().map_or(MAX_JSON_BYTES, |JsonLimit(limit)| *limit);
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let message = format!("the body is larger than {limit} bytes");
                return ApiError::new(Fault::new(Kind::TooLarge, "BODY_TOO_LARGE", message));
            }
            ApiError::http(
                StatusCode::BAD_REQUEST,
                "BODY_UNREADABLE",
                "the body could not be read to its end",
            )
        })?;
        Self::parse(&bytes)
    }
}

impl Body {
    pub(crate) fn parse(bytes: &[u8]) -> ApiResult<Self> {
        if bytes.is_empty() {
            return Err(ApiError::new(Fault::invalid_field("", Rule::Missing)));
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| {
            let text = error.to_string();
            let cause = text.split(" at line").next().unwrap_or_default().to_owned();
            ApiError::json_invalid(offset(bytes, error.line(), error.column()), &cause)
        })?;
        match value {
            Value::Object(object) => Ok(Self { object, violations: Vec::new() }),
            other => Err(ApiError::new(Fault::invalid_field("", Rule::DictType)).at("body", other)),
        }
    }

    /// A text, if the field is there.
    pub(crate) fn text(&mut self, field: &str) -> Option<String> {
        match self.object.get(field)? {
            Value::String(text) => Some(text.clone()),
            _ => self.broken(field, Rule::StringType),
        }
    }

    /// A text that must be there.
    pub(crate) fn required_text(&mut self, field: &str) -> String {
        self.required(field);
        self.text(field).unwrap_or_default()
    }

    /// A whole number, if the field is there. As in pydantic, `"12"` and `12.0` are twelve.
    pub(crate) fn integer(&mut self, field: &str) -> Option<i32> {
        match self.object.get(field)? {
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Some(saturate(whole)),
                // Rust's cast stops at the bounds of the type.
                (None, Some(float)) if float.fract() == 0.0 => Some(saturate(float as i64)),
                _ => self.broken(field, Rule::IntFromFloat),
            },
            Value::String(text) => match text.trim().parse::<i64>() {
                Ok(whole) => Some(saturate(whole)),
                Err(_) => self.broken(field, Rule::IntParsing),
            },
            _ => self.broken(field, Rule::IntType),
        }
    }

    /// A list of texts, if the field is there.
    pub(crate) fn texts(&mut self, field: &str) -> Option<Vec<String>> {
        let Value::Array(items) = self.object.get(field)? else {
            return self.broken(field, Rule::ListType);
        };
        let mut texts = Vec::with_capacity(items.len());
        let mut broken = Vec::new();
        for (place, item) in items.iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text.clone()),
                _ => broken.push(Violation::new(&format!("{field}.{place}"), Rule::StringType)),
            }
        }
        let whole = broken.is_empty();
        self.violations.extend(broken);
        whole.then_some(texts)
    }

    /// Yes or no, if the field is there.
    pub(crate) fn boolean(&mut self, field: &str) -> Option<bool> {
        match self.object.get(field)? {
            Value::Bool(value) => Some(*value),
            _ => self.broken(field, Rule::BoolType),
        }
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.object.contains_key(field)
    }

    /// A list of anything, if the field is there.
    pub(crate) fn items(&mut self, field: &str) -> Option<Vec<Value>> {
        match self.object.get(field)? {
            Value::Array(items) => Some(items.clone()),
            _ => self.broken(field, Rule::ListType),
        }
    }

    /// Notes that a part of the body breaks a rule.
    pub(crate) fn note(&mut self, field: &str, rule: Rule) {
        self.violations.push(Violation::new(field, rule));
    }

    /// Notes the field as missing unless it is there.
    pub(crate) fn required(&mut self, field: &str) {
        if !self.object.contains_key(field) {
            self.violations.push(Violation::new(field, Rule::Missing));
        }
    }

    /// One of the accepted words, if the field is there.
    pub(crate) fn word(&mut self, field: &str, accepted: &[&str]) -> Option<String> {
        let text = self.text(field)?;
        if accepted.contains(&text.as_str()) {
            return Some(text);
        }
        self.broken(field, Rule::Enum(accepted.iter().map(|word| (*word).to_owned()).collect()))
    }

    fn broken<T>(&mut self, field: &str, rule: Rule) -> Option<T> {
        self.violations.push(Violation::new(field, rule));
        None
    }

    /// Whether every field read so far has the right shape.
    pub(crate) fn is_well_formed(&self) -> bool {
        self.violations.is_empty()
    }

    /// # Errors
    /// 422 with every field of the wrong shape.
    pub(crate) fn finish(&self) -> ApiResult<()> {
        if self.violations.is_empty() {
            return Ok(());
        }
        Err(self.blame(Fault::invalid(self.violations.clone())))
    }

    /// A failure that shows what was sent.
    pub(crate) fn blame(&self, error: impl Into<ApiError>) -> ApiError {
        error.into().at("body", Value::Object(self.object.clone()))
    }

    /// The fields of the wrong shape together with the rules that the service found broken, in the order of
    /// `fields`.
    pub(crate) fn blame_with(&self, error: impl Into<ApiError>, fields: &[&str]) -> ApiError {
        let error: ApiError = error.into();
        let mut violations = self.violations.clone();
        if error.fault().kind == Kind::Invalid {
            let known: Vec<String> = violations.iter().map(|violation| violation.field.clone()).collect();
            let more = error.fault().violations.iter().filter(|violation| !known.contains(&violation.field));
            violations.extend(more.cloned());
        } else if violations.is_empty() {
            return self.blame(error);
        }
        let rank = |violation: &Violation| {
            let root = violation.field.split('.').next().unwrap_or_default();
            fields.iter().position(|field| *field == root).unwrap_or(fields.len())
        };
        violations.sort_by_key(rank);
        self.blame(Fault { violations: violations.clone(), ..Fault::invalid(violations) })
    }
}

fn saturate(whole: i64) -> i32 {
    i32::try_from(whole).unwrap_or(if whole > 0 { i32::MAX } else { i32::MIN })
}

fn offset(bytes: &[u8], line: usize, column: usize) -> usize {
    let before: usize =
        bytes.split(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(|row| row.len() + 1).sum();
    before + column.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Body {
        Body::parse(json.as_bytes()).unwrap()
    }

    fn rule(json: &str) -> Option<Rule> {
        let mut body = fields(json);
        body.integer("n");
        body.violations.pop().map(|violation| violation.rule)
    }

    #[test]
    fn numbers_are_read_as_pydantic_reads_them() {
        assert_eq!(fields(r#"{"n": 12}"#).integer("n"), Some(12));
        assert_eq!(fields(r#"{"n": "12"}"#).integer("n"), Some(12));
        assert_eq!(fields(r#"{"n": 12.0}"#).integer("n"), Some(12));
        assert_eq!(fields(r#"{"n": 99999999999}"#).integer("n"), Some(i32::MAX));
        assert_eq!(fields(r#"{"n": -1e300}"#).integer("n"), Some(i32::MIN));
        assert_eq!(rule(r#"{"n": "ten"}"#), Some(Rule::IntParsing));
        assert_eq!(rule(r#"{"n": 2.5}"#), Some(Rule::IntFromFloat));
        assert_eq!(rule(r#"{"n": null}"#), Some(Rule::IntType));
        assert_eq!(rule(r#"{"n": true}"#), Some(Rule::IntType));
        assert_eq!(rule("{}"), None);
    }

    #[test]
    fn the_place_where_json_breaks_is_told_in_bytes() {
        assert_eq!(offset(b"{\n  \"a\": x}", 2, 8), 9);
    }
}
