//! The address where metrics are read.

use std::convert::Infallible;
use std::net::SocketAddr;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::settings::Settings;

/// The setting that names the address.
pub const METRICS_LISTEN: &str = "QUIRE_METRICS_LISTEN";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where metrics are to be read; nowhere unless `QUIRE_METRICS_LISTEN` is set. Who may read is decided by who can
/// reach the address: it must not be public.
pub fn address(settings: &mut Settings) -> Option<SocketAddr> {
    let text = settings.optional(METRICS_LISTEN)?;
    let address = text.parse().ok();
    if address.is_none() {
        settings
            .problem(format!("{METRICS_LISTEN} is `{text}`: an address such as 127.0.0.1:9464 is accepted"));
    }
    address
}

impl Metrics {
    /// Answers `GET /metrics` until the shutdown.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let answering = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
            let answer = self.answer(request.method(), request.uri().path());
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        crate::http::serve(listener, answering, shutdown).await;
    }

    fn answer(&self, method: &Method, path: &str) -> Response<String> {
        if path != "/metrics" {
            return plain(StatusCode::NOT_FOUND);
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return plain(StatusCode::METHOD_NOT_ALLOWED);
        }
        let Ok(text) = self.text() else {
            tracing::error!("the metrics cannot be written");
            return plain(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let mut answer = Response::new(text);
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
        answer
    }
}

fn plain(status: StatusCode) -> Response<String> {
    let mut answer = Response::new(String::new());
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn only_the_metrics_are_shown_and_nothing_is_changed() {
        let metrics = Metrics::default();
        metrics.scope("auth").counter("mails", "Mails");
        let answer = metrics.answer(&Method::GET, "/metrics");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[CONTENT_TYPE], OPEN_METRICS);
        assert!(answer.body().contains("quire_auth_mails_total 0\n"));
        assert_eq!(metrics.answer(&Method::POST, "/metrics").status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(metrics.answer(&Method::GET, "/").status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn nothing_listens_unless_it_is_asked_for() {
        let settings =
            |text: &str| Settings::from_map(HashMap::from([(METRICS_LISTEN.to_owned(), text.to_owned())]));
        assert_eq!(address(&mut settings("")), None);
        assert_eq!(address(&mut settings("127.0.0.1:9464")), "127.0.0.1:9464".parse().ok());
        let mut wrong = settings("9464");
        assert_eq!(address(&mut wrong), None);
        assert!(wrong.finish().is_err());
    }
}
