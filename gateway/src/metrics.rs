//! What is counted of requests.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use quire_serve::metrics::{Counters, Durations, Scope};

/// Of all requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Requests(Arc<Inner>);

struct Inner {
    requests: Counters<3>,
    durations: Durations<2>,
}

impl Requests {
    pub(crate) fn new(scope: &Scope) -> Self {
        let requests = scope.counters(
            "http_requests",
            "HTTP requests by template of the route, method and class of the status",
            ["route", "method", "status"],
        );
        let durations = scope.durations(
            "http_request_duration_seconds",
            "Time to the answer's head by template of the route and method",
            ["route", "method"],
        );
        Self(Arc::new(Inner { requests, durations }))
    }

    /// `route` is a template: paths hold ids.
    pub(crate) fn answered(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        let method = label(method);
        self.0.requests.count([route, method, class(status)]);
        self.0.durations.observe([route, method], took);
    }
}

/// A client may make up methods; they share one name.
fn label(method: &Method) -> &'static str {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("other")
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        ..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500.. => "5xx",
    }
}
