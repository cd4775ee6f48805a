//! An HTTP answer, read to its end.

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub async fn to(request: RequestBuilder) -> Self {
        Self::heard(request).await.expect("a whole answer")
    }

    /// The same, or nothing if the connection breaks, as it does when the other side is killed.
    pub async fn heard(request: RequestBuilder) -> Option<Self> {
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status(), response.headers().clone());
        Some(Self { status, headers, body: response.bytes().await.ok()?.to_vec() })
    }

    /// Itself, if it has that status; else the test fails and shows the body.
    #[track_caller]
    pub fn with_status(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{} {:?}", self.text(), self.headers);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The header's text; empty without it.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The machine-readable reason of a failure.
    pub fn reason(&self) -> &str {
        self.header("x-quire-reason")
    }

    /// FastAPI's list of broken rules.
    #[track_caller]
    pub fn violations(&self) -> Vec<Value> {
        let body = self.json();
        body["detail"].as_array().cloned().unwrap_or_else(|| panic!("no list of violations: {body}"))
    }

    /// The one broken rule.
    #[track_caller]
    pub fn violation(&self) -> Value {
        let violations = self.violations();
        assert_eq!(violations.len(), 1, "{violations:?}");
        violations[0].clone()
    }
}
