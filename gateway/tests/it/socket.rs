//! Following a document's job over a WebSocket, as programs and pages do.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use quire_identity::Role;
use quire_proto::auth::v1 as auth;
use quire_proto::job::v1 as job;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::door::{Door, header};
use crate::tokens;
use crate::upstream::Upstream;

const PATH: &str = "/api/v1/jobs/ws/generation/d-1";
/// Waits end here; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<TcpStream>;

/// An upstream with a running job that has had one event.
async fn running() -> Upstream {
    let upstream = Upstream::with(tokens::auth()).await;
    let running = job::Job {
        id: "j-1".to_owned(),
        document_id: "d-1".to_owned(),
        status: job::JobStatus::Running.into(),
        ..Default::default()
    };
    upstream.answer("GetJob", &job::GetJobResponse { job: Some(running.clone()) });
    upstream.answer("ListJobs", &job::ListJobsResponse { jobs: vec![running], ..Default::default() });
    let event = job::JobEvent {
        seq: 7,
        kind: "section_done".to_owned(),
        data_json: r#"{"key":"1.1","percent":30}"#.to_owned(),
        at: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
    };
    upstream.answer("WatchJob", &job::WatchJobResponse { event: Some(event) });
    upstream
}

/// Opens one: the connection and what the server chose, or the status and the reason of a refusal.
async fn open(
    door: &Door,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Socket, Option<String>), (u16, String)> {
    let address = door.url.strip_prefix("http://").unwrap();
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, answer)) => {
            let chosen = answer.headers().get("sec-websocket-protocol");
            Ok((socket, chosen.map(|chosen| chosen.to_str().unwrap().to_owned())))
        }
        Err(Error::Http(answer)) => {
            let reason = answer.headers().get("x-quire-reason").map_or("", |value| value.to_str().unwrap());
            Err((answer.status().as_u16(), reason.to_owned()))
        }
        Err(error) => panic!("{error}"),
    }
}

fn authorization(user: &str) -> String {
    format!("Bearer {}", tokens::access(user, Role::User))
}

fn protocols(user: &str) -> String {
    format!("quire.v1, bearer.{}", tokens::access(user, Role::User))
}

async fn next(socket: &mut Socket) -> Message {
    let next = tokio::time::timeout(PATIENCE, socket.next()).await.expect("something comes");
    next.expect("the connection is open").unwrap()
}

/// The next event.
async fn event(socket: &mut Socket) -> Value {
    serde_json::from_str(next(socket).await.to_text().unwrap()).unwrap()
}

async fn closed(socket: &mut Socket) -> (u16, String) {
    match next(socket).await {
        Message::Close(Some(frame)) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("it does not close: {other}"),
    }
}

#[tokio::test]
async fn a_page_brings_its_token_as_a_subprotocol_and_does_not_get_it_back() {
    let upstream = running().await;
    let door = Door::open(&upstream.url, "socket", &[]).await;
    let offered = protocols("ada");
    let path = format!("{PATH}?after=6");
    let (mut socket, chosen) = open(&door, &path, &[("sec-websocket-protocol", &offered)]).await.unwrap();
    assert_eq!(chosen.as_deref(), Some("quire.v1"));
    let expected = json!({
        "seq": 7,
        "kind": "section_done",
        "data": { "key": "1.1", "percent": 30 },
        "at": "1970-01-01T00:00:00Z",
    });
    assert_eq!(event(&mut socket).await, expected);
    let calls = upstream.calls();
    let (listed, watched) = (&calls[0], &calls[1]);
    let asked = listed.message::<job::ListJobsRequest>();
    assert_eq!((asked.document_id.as_str(), asked.page_size), ("d-1", 1));
    let asked = watched.message::<job::WatchJobRequest>();
    assert_eq!((asked.job_id.as_str(), asked.after_seq), ("j-1", 6));
    assert!(watched.header("authorization").starts_with("Bearer "));
}

#[tokio::test]
async fn a_program_uses_headers_as_everywhere() {
    let upstream = running().await;
    let door = Door::open(&upstream.url, "socket", &[]).await;
    let token = authorization("ada");
    let headers = [("authorization", token.as_str()), ("last-event-id", "3")];
    let (mut socket, chosen) = open(&door, PATH, &headers).await.unwrap();
    assert_eq!((chosen, event(&mut socket).await["seq"].as_i64()), (None, Some(7)));
    assert_eq!(upstream.calls()[1].message::<job::WatchJobRequest>().after_seq, 3);
    // The other way to follow knows the same cursor.
    let events = door.request(Method::GET, "/api/v1/jobs/j-1/events?after=5");
    assert_eq!(events.header("authorization", &token).send().await.unwrap().status(), 200);
    assert_eq!(upstream.calls()[3].message::<job::WatchJobRequest>().after_seq, 5);
}

#[tokio::test]
async fn who_may_not_follow_is_told_before_the_connection_changes() {
    let upstream = running().await;
    let door = Door::open(&upstream.url, "socket", &[]).await;
    let token = authorization("ada");
    let signed = ("authorization", token.as_str());
    let offered = protocols("ada");
    let only_token = offered.strip_prefix("quire.v1, ").unwrap();
    let access = only_token.strip_prefix("bearer.").unwrap();
    for (path, headers, expected) in [
        (PATH.to_owned(), vec![], (401, "TOKEN_MISSING")),
        (format!("{PATH}?token={access}&access_token={access}"), vec![], (401, "TOKEN_MISSING")),
        (PATH.to_owned(), vec![("authorization", "Bearer x.y.z")], (401, "TOKEN_INVALID")),
        (PATH.to_owned(), vec![("sec-websocket-protocol", "quire.v1, bearer.x.y.z")], (401, "TOKEN_INVALID")),
        (PATH.to_owned(), vec![("sec-websocket-protocol", only_token)], (400, "SUBPROTOCOL_MISSING")),
        (PATH.to_owned(), vec![signed, ("sec-websocket-version", "8")], (426, "WEBSOCKET_REQUIRED")),
        (format!("{PATH}?after=yesterday"), vec![signed], (422, "VALIDATION_FAILED")),
    ] {
        let refused = open(&door, &path, &headers).await.map(|_| ()).unwrap_err();
        assert_eq!((refused.0, refused.1.as_str()), expected, "{path} {headers:?}");
    }
    assert_eq!(upstream.calls().len(), 0);
    let plain = door.request(Method::GET, PATH).header("authorization", &token).send().await.unwrap();
    assert_eq!((plain.status().as_u16(), header(&plain, "upgrade").as_str()), (426, "websocket"));

    upstream.answer("ListJobs", &job::ListJobsResponse::default());
    let refused = open(&door, PATH, &[signed]).await.map(|_| ()).unwrap_err();
    assert_eq!(refused, (404, "JOB_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_and_listed_ones_are_not() {
    let upstream = running().await;
    let settings = [
        ("QUIRE_CORS_ORIGINS", "https://app.example.org"),
        ("QUIRE_PUBLIC_URL", "https://quire.example.org/api"),
    ];
    let door = Door::open(&upstream.url, "origins", &settings).await;
    let offered = protocols("ada");
    let from = async |origin: &str| {
        let headers = [("sec-websocket-protocol", offered.as_str()), ("origin", origin)];
        open(&door, PATH, &headers).await.map(|_| ())
    };
    for foreign in ["https://evil.example", "https://app.example.org.evil.example", "null", ""] {
        assert_eq!(from(foreign).await.unwrap_err(), (403, "ORIGIN_REFUSED".to_owned()), "{foreign}");
    }
    for known in ["https://app.example.org", "https://quire.example.org"] {
        from(known).await.unwrap();
    }
    let anywhere = open(&door, PATH, &[("sec-websocket-protocol", &offered)]).await;
    assert!(anywhere.is_ok(), "a program has no origin");
}

#[tokio::test]
async fn sockets_and_event_streams_share_the_places_of_a_user() {
    let upstream = running().await;
    let door = Door::open(&upstream.url, "places", &[]).await;
    let token = authorization("ada");
    let signed = [("authorization", token.as_str())];
    let mut open_ones = Vec::new();
    for _ in 0..15 {
        let (mut socket, _) = open(&door, PATH, &signed).await.unwrap();
        event(&mut socket).await;
        open_ones.push(socket);
    }
    let events = || door.request(Method::GET, "/api/v1/jobs/j-1/events").header("authorization", &token);
    let stream = events().send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let text = door.metrics.text().unwrap();
    assert!(text.contains("quire_gateway_event_streams_open 16"), "{text}");
    let refused = open(&door, PATH, &signed).await.map(|_| ()).unwrap_err();
    assert_eq!(refused, (429, "TOO_MANY_STREAMS".to_owned()));
    assert_eq!(events().send().await.unwrap().status(), 429);

    let mut last = open_ones.pop().unwrap();
    last.close(None).await.unwrap();
    // The answer to the close message; the place is free when the connection is gone.
    while let Some(Ok(_)) = last.next().await {}
    let free = async {
        while open(&door, PATH, &signed).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("the place is free");
}

#[tokio::test]
async fn what_a_client_says_is_thrown_away_unless_it_is_too_much() {
    let upstream = running().await;
    let door = Door::open(&upstream.url, "chatter", &[]).await;
    let token = authorization("ada");
    let (mut socket, _) = open(&door, PATH, &[("authorization", &token)]).await.unwrap();
    event(&mut socket).await;
    socket.send(Message::text("hello")).await.unwrap();
    socket.send(Message::binary(vec![0; 4096])).await.unwrap();
    socket.send(Message::Ping("sign".into())).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Pong("sign".into()));
    socket.send(Message::binary(vec![0; 4097])).await.unwrap();
    assert_eq!(closed(&mut socket).await.0, 1008);
}

#[tokio::test]
async fn with_its_session_the_socket_ends() {
    let upstream = running().await;
    let door = Door::open(&upstream.url, "revoked socket", &[]).await;
    let token = authorization("ada");
    let (mut socket, _) = open(&door, PATH, &[("authorization", &token)]).await.unwrap();
    event(&mut socket).await;
    let subject = auth::revocation::Subject::SessionId("session of ada".to_owned());
    let forget_at = Some(prost_types::Timestamp { seconds: 1 << 40, nanos: 0 });
    let revocation = auth::Revocation { subject: Some(subject), forget_at };
    let news = auth::WatchRevocationsResponse { seq: 1, revocations: vec![revocation], ..Default::default() };
    upstream.answer("WatchRevocations", &news);
    assert_eq!(closed(&mut socket).await, (4401, "SESSION_ENDED".to_owned()));
    let refused = open(&door, PATH, &[("authorization", &token)]).await.map(|_| ()).unwrap_err();
    assert_eq!(refused, (401, "SESSION_ENDED".to_owned()));
}

#[tokio::test]
async fn a_gateway_that_stops_says_so() {
    let upstream = running().await;
    let door = Door::open(&upstream.url, "stopping", &[]).await;
    let token = authorization("ada");
    let (mut socket, _) = open(&door, PATH, &[("authorization", &token)]).await.unwrap();
    event(&mut socket).await;
    drop(door);
    assert_eq!(closed(&mut socket).await.0, 1012);
}
