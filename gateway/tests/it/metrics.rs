//! What an operator can count.

use quire_identity::Role;
use quire_proto::job::v1 as job;
use reqwest::Method;

use crate::door::Door;
use crate::tokens;
use crate::upstream::{Behaviour, Upstream};

/// The value of a metric, by its name and its labels as they are shown.
fn value(door: &Door, name: &str) -> Option<f64> {
    let text = door.metrics.text().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

fn requests(route: &str, method: &str, class: &str) -> String {
    format!("quire_gateway_http_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{class}\"}}")
}

#[tokio::test]
async fn requests_are_counted_by_template_and_what_clients_make_up_is_not() {
    let upstream = Upstream::with(tokens::auth()).await;
    let door = Door::open(&upstream.url, "metrics", &[]).await;
    let ada = tokens::access("ada", Role::User);
    for id in ["one", "two", "three"] {
        let path = format!("/api/v1/documents/{id}");
        door.request(Method::GET, &path).bearer_auth(&ada).send().await.unwrap();
    }
    for made_up in ["BREW", "STIR", "POUR"] {
        let method = Method::from_bytes(made_up.as_bytes()).unwrap();
        door.request(method, &format!("/{made_up}")).send().await.unwrap();
    }
    door.request(Method::GET, "/livez").send().await.unwrap();
    let template = "/api/v1/documents/{id}";
    assert_eq!(value(&door, &requests(template, "GET", "4xx")), Some(3.0));
    assert_eq!(value(&door, &requests("(none)", "other", "4xx")), Some(3.0));
    assert_eq!(value(&door, &requests("/livez", "GET", "2xx")), Some(1.0));
    let took =
        format!("quire_gateway_http_request_duration_seconds_count{{route=\"{template}\",method=\"GET\"}}");
    assert_eq!(value(&door, &took), Some(3.0));
    let text = door.metrics.text().unwrap();
    assert!(!text.contains("BREW") && !text.contains("three"), "{text}");
}

#[tokio::test]
async fn two_gateways_in_one_process_count_apart() {
    let upstream = Upstream::start(Behaviour::Fail(7)).await;
    let one = Door::open(&upstream.url, "one", &[("QUIRE_LIMIT_MAGIC_LINK", "1/hour, 1/day shadow")]).await;
    let two = Door::open(&upstream.url, "two", &[]).await;
    for _ in 0..3 {
        one.magic_link().send().await.unwrap();
    }
    two.magic_link().send().await.unwrap();
    let refusals = "quire_gateway_limiter_refusals_total{policy=\"magic_link-hour\"}";
    let shadows = "quire_gateway_limiter_shadow_refusals_total{policy=\"magic_link-day\"}";
    let local = "quire_gateway_limiter_checks_total{source=\"local\"}";
    assert_eq!([refusals, shadows, local].map(|name| value(&one, name)), [Some(2.0), Some(2.0), Some(3.0)]);
    assert_eq!([refusals, shadows, local].map(|name| value(&two, name)), [None, None, Some(1.0)]);
}

#[tokio::test]
async fn open_streams_and_the_age_of_the_revocations_are_shown() {
    let upstream = Upstream::with(tokens::auth()).await;
    let running = job::Job { status: job::JobStatus::Running.into(), ..Default::default() };
    upstream.answer("GetJob", &job::GetJobResponse { job: Some(running) });
    let event = job::JobEvent { seq: 1, kind: "started".to_owned(), ..Default::default() };
    upstream.answer("WatchJob", &job::WatchJobResponse { event: Some(event) });
    let door = Door::open(&upstream.url, "streams", &[]).await;
    let ada = tokens::access("ada", Role::User);
    let open = "quire_gateway_event_streams_open";
    door.request(Method::GET, "/livez").send().await.unwrap();
    assert!(value(&door, "quire_gateway_revocation_stream_age_seconds").is_some_and(|age| age >= 0.0));
    assert_eq!(value(&door, open), Some(0.0));
    let stream = door.request(Method::GET, "/api/v1/jobs/1/events").bearer_auth(&ada).send().await.unwrap();
    assert_eq!((stream.status().as_u16(), value(&door, open)), (200, Some(1.0)));
}
