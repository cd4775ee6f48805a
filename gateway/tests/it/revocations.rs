//! Sessions that end before their tokens do.

use std::time::Duration;

use quire_identity::Role;
use quire_proto::auth::v1 as pb;
use quire_proto::job::v1 as job;
use reqwest::Method;

use crate::door::{Door, header};
use crate::tokens;
use crate::upstream::Upstream;

#[tokio::test]
async fn with_its_session_the_token_and_the_open_stream_end() {
    let upstream = Upstream::with(tokens::auth()).await;
    let running = job::Job { status: job::JobStatus::Running.into(), ..Default::default() };
    upstream.answer("GetJob", &job::GetJobResponse { job: Some(running) });
    let event = job::JobEvent { seq: 1, kind: "started".to_owned(), ..Default::default() };
    upstream.answer("WatchJob", &job::WatchJobResponse { event: Some(event) });
    let door = Door::open(&upstream.url, "revoked", &[]).await;
    let token = tokens::access("ada", Role::User);
    let open = || door.request(Method::GET, "/api/v1/jobs/1/events").bearer_auth(&token).send();
    let mut stream = open().await.unwrap();
    assert_eq!(stream.status(), 200);
    let mut text = String::new();
    while !text.contains("event: started") {
        text.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
    }

    let subject = pb::revocation::Subject::SessionId("session of ada".to_owned());
    let forget_at = Some(prost_types::Timestamp { seconds: 1 << 40, nanos: 0 });
    let revocation = pb::Revocation { subject: Some(subject), forget_at };
    let news = pb::WatchRevocationsResponse { seq: 1, revocations: vec![revocation], ..Default::default() };
    upstream.answer("WatchRevocations", &news);
    // Until the gateway has opened its stream of revocations anew, nothing is heard.
    let rest = tokio::time::timeout(Duration::from_secs(5), stream.text()).await;
    rest.expect("the stream is still open").unwrap();

    let answer = open().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "x-quire-reason").as_str()),
        (401, "SESSION_ENDED")
    );
}
