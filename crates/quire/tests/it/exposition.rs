//! Metrics, as whoever scrapes them sees them.

use quire_testkit::Backend;
use reqwest::Method;
use serde_json::json;

use crate::answer::Answer;
use crate::customer::Client;
use crate::system::System;

/// On a port that the system chooses.
pub const LISTEN: (&str, &str) = ("QUIRE_METRICS_LISTEN", "127.0.0.1:0");

/// What is shown at an address now.
pub async fn scrape(client: &Client, url: &str) -> String {
    let answer = Answer::to(client.anywhere(Method::GET, &format!("{url}/metrics"))).await.with_status(200);
    assert!(
        answer.header("content-type").starts_with("application/openmetrics-text"),
        "{:?}",
        answer.headers
    );
    answer.text()
}

/// The value of a metric, by its name and its labels as they are shown.
pub fn value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_services_of_a_process_are_on_one_page_and_two_systems_on_two() {
    let (one, two) =
        tokio::join!(System::start(Backend::Sqlite, &[LISTEN]), System::start(Backend::Sqlite, &[LISTEN]));
    let ada = one.sign_in("ada@example.org").await;
    ada.get("/documents").await.with_status(200);
    ada.get("/documents/nothing").await.with_status(404);
    two.client.post("/auth/refresh", &json!({ "refresh_token": "nonsense" })).await.with_status(401);
    let text = scrape(&one.client, &one.embedded.urls.metrics).await;
    let documents = "quire_document_grpc_calls_total{service=\"quire.document.v1.DocumentService\",";
    for (name, expected) in [
        ("quire_auth_mails_total{kind=\"sign_in\",outcome=\"sent\"}", 1.0),
        ("quire_auth_magic_link_prefetch_total", 0.0),
        (&format!("{documents}method=\"ListDocuments\",code=\"Ok\"}}"), 1.0),
        (&format!("{documents}method=\"GetDocument\",code=\"NotFound\"}}"), 1.0),
        (
            "quire_gateway_http_requests_total{route=\"/api/v1/documents/{id}\",method=\"GET\",status=\"4xx\"}",
            1.0,
        ),
        ("quire_gateway_limiter_degraded", 0.0),
        ("quire_gateway_event_streams_open", 0.0),
    ] {
        assert_eq!(value(&text, name), Some(expected), "{name}\n{text}");
    }
    for verifier in ["gateway", "document", "payment", "background_job"] {
        let age = value(&text, &format!("quire_{verifier}_revocation_stream_age_seconds"));
        assert!(age.is_some_and(|age| age >= 0.0), "{verifier}\n{text}");
    }
    assert_eq!(value(&text, "quire_auth_refreshes_total{outcome=\"invalid\"}"), Some(0.0));
    assert!(!text.contains("example.org"), "{text}");
    let mut names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let shown = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), shown, "a metric is shown twice\n{text}");
    assert!(text.ends_with("# EOF\n"));

    let text = scrape(&two.client, &two.embedded.urls.metrics).await;
    assert_eq!(value(&text, "quire_auth_refreshes_total{outcome=\"invalid\"}"), Some(1.0));
    assert_eq!(value(&text, "quire_auth_mails_total{kind=\"sign_in\",outcome=\"sent\"}"), Some(0.0));
    // Not at the address that is public.
    let public = one.client.anywhere(Method::GET, &format!("{}/metrics", one.client.gateway));
    Answer::to(public).await.with_status(404);
    tokio::join!(one.stop(), two.stop());
}
