//! Redis answers, but late: limits go on without it, and an operator can see so.

use std::time::Duration;

use quire_testkit::Backend;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::answer::Answer;
use crate::exposition::{self, scrape, value};
use crate::system::{OPERATOR, System};

/// Four times as long as a limit waits.
const LATE: Duration = Duration::from_millis(200);

/// The address of a proxy that passes questions on at once, and answers late.
async fn late(target: &str) -> String {
    let target = target.trim_start_matches("redis://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&target).await.unwrap();
            let (mut questions, mut to_client) = client.into_split();
            let (mut answers, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut questions, &mut to_server).await });
            tokio::spawn(async move {
                let mut buffer = [0; 8192];
                while let Ok(read @ 1..) = answers.read(&mut buffer).await {
                    tokio::time::sleep(LATE).await;
                    if to_client.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_slow_redis_limits_are_counted_here_and_it_shows() {
    let Some(redis) = quire_testkit::redis() else { return };
    let redis = late(redis).await;
    let settings = [("REDIS_URL", redis.as_str()), ("QUIRE_LIMIT_REFRESH", "5/hour"), exposition::LISTEN];
    let system = System::start(Backend::Sqlite, &settings).await;
    let nonsense = json!({ "refresh_token": "nonsense" });
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let request = system.client.request(Method::POST, "/auth/refresh").json(&nonsense);
        statuses.push(Answer::to(request).await.status.as_u16());
    }
    // From the first one on, although Redis has counted some of them, too.
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    let text = scrape(&system.client, &system.embedded.urls.metrics).await;
    assert_eq!(value(&text, "quire_gateway_limiter_degraded"), Some(1.0), "{text}");
    assert_eq!(value(&text, "quire_gateway_limiter_checks_total{source=\"local\"}"), Some(8.0), "{text}");
    assert_eq!(value(&text, "quire_gateway_limiter_checks_total{source=\"redis\"}"), None, "nobody waited");
    assert_eq!(value(&text, "quire_gateway_limiter_refusals_total{policy=\"refresh-hour\"}"), Some(3.0));

    let operator = system.sign_in(OPERATOR).await;
    let path = "/admin/limits?route=refresh&address=127.0.0.1";
    let explained = operator.get(path).await.with_status(200).json();
    assert_eq!((&explained["source"], &explained["policies"][0]["remaining"]), (&json!("local"), &json!(0)));
    system.stop().await;
}
