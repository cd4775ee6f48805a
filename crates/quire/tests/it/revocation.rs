//! What has ended is refused everywhere: at the gateway, by the services themselves, and on open streams.

use std::time::Duration;

use quire_proto::document::v1::ListDocumentsRequest;
use quire_proto::document::v1::document_service_client::DocumentServiceClient;
use quire_testkit::Backend;
use reqwest::Method;
use serde_json::json;
use tonic::{Code, Request};

use crate::answer::Answer;
use crate::samples;
use crate::sse::Reader;
use crate::system::{OPERATOR, System};
use crate::wait::eventually;

quire_testkit::on_both_databases!(
    a_logged_out_token_is_refused_by_gateway_and_services,
    an_open_stream_of_a_blocked_user_ends,
    no_valid_token_is_refused_while_keys_are_rotated,
);

async fn a_logged_out_token_is_refused_by_gateway_and_services(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let (ada, other) = (system.sign_in("ada@example.org").await, system.sign_in("ada@example.org").await);
    let channel = quire_serve::client::channel(&system.embedded.urls.document).unwrap();
    let documents = DocumentServiceClient::new(channel);
    let direct = async |access: &str| {
        let mut request = Request::new(ListDocumentsRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {access}").parse().unwrap());
        documents.clone().list_documents(request).await.map(drop).map_err(|status| status.code())
    };
    ada.get("/documents").await.with_status(200);
    direct(&ada.access).await.unwrap();
    Answer::to(ada.request(Method::POST, "/auth/logout")).await.with_status(204);
    eventually("the gateway refuses", || async {
        let answer = ada.get("/documents").await;
        (answer.status == 401).then(|| assert_eq!(answer.reason(), "SESSION_ENDED"))
    })
    .await;
    eventually("the service refuses", || async {
        direct(&ada.access).await.err().map(|code| assert_eq!(code, Code::Unauthenticated))
    })
    .await;
    other.get("/documents").await.with_status(200);
    direct(&other.access).await.unwrap();
    system.stop().await;
}

async fn an_open_stream_of_a_blocked_user_ends(backend: Backend) {
    // A model that takes connections and never answers: the job, and with it the stream, goes on and on.
    let frozen = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", frozen.local_addr().unwrap());
    let model = [
        ("QUIRE_MODEL_BASE_URL", url.as_str()),
        ("QUIRE_MODEL", "frozen"),
        ("QUIRE_MODEL_PRICES", "frozen=0"),
    ];
    let system = System::start(backend, &model).await;
    let (ada, root) = (system.sign_in("ada@example.org").await, system.sign_in(OPERATOR).await);
    let spec = json!({ "title": "Keeping books", "target_pages": 4, "writer": "openai" });
    let id = ada.create_document(&spec).await;
    ada.upload_sample(&id, samples::TEXT).await;
    let order = ada.checkout(&id).await;
    ada.pay(&order).await;
    let job = ada.job_of(order["id"].as_str().unwrap()).await;
    let path = format!("/jobs/{job}/events");
    let request = ada.request(Method::GET, &path).timeout(Duration::from_secs(60));
    let mut reader = Reader::new(request.send().await.unwrap());
    let first = reader.next().await.expect("the stream is open");
    root.post(&format!("/admin/users/{}/block", ada.id), &json!({})).await.with_status(200);
    let mut last = first;
    while let Some(event) = reader.next().await {
        last = event;
    }
    assert!(!last.is_last(), "the stream ended with the job, not by the block: {last:?}");
    assert_eq!(ada.get(&path).await.with_status(403).reason(), "USER_BLOCKED");
    system.stop().await;
}

async fn no_valid_token_is_refused_while_keys_are_rotated(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let operator = system.operator().await;
    let old = operator.keys().await.unwrap()[0].kid.clone();
    let stop = tokio_util::sync::CancellationToken::new();
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (ada, stop) = (ada.clone(), stop.clone());
        load.spawn(async move {
            let mut refused = 0;
            while !stop.is_cancelled() {
                refused += usize::from(ada.get("/documents").await.status != 200);
            }
            refused
        });
    }
    let rotated = operator.rotate(Duration::ZERO).await.unwrap();
    let new = eventually("auth signs with the new key", || async {
        let bob = system.sign_in("bob@example.org").await;
        let kid = jsonwebtoken::decode_header(&bob.access).unwrap().kid.unwrap();
        (kid == rotated.kid).then_some(bob)
    })
    .await;
    new.get("/documents").await.with_status(200);
    stop.cancel();
    assert_eq!(load.join_all().await.into_iter().sum::<usize>(), 0, "valid tokens were refused");
    operator.revoke(&old).await.unwrap();
    eventually("tokens of a revoked key are refused", || async {
        (ada.get("/documents").await.status == 401).then_some(())
    })
    .await;
    new.get("/documents").await.with_status(200);
    operator.close().await.unwrap();
    system.stop().await;
}
