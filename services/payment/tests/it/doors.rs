//! Who may not come in.

use quire_fault::Fault;
use quire_proto::payment::v1 as pb;
use quire_testkit::{Backend, doors};
use tonic::Code;

use crate::peers::SIGNED_OUT;
use crate::stage::{KID, Stage};

/// Methods that need no credentials, and why.
const OPEN: [(&str, &str); 3] = [
    ("GetPricing", "prices are public"),
    ("CalculatePrice", "prices are public"),
    ("HandleWebhook", "the provider has no account here: the signature of the event is checked instead"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_method_lets_a_stranger_in() {
    let stage = Stage::new(Backend::Sqlite).await;
    let server = stage.start().await;
    for (who, metadata) in doors::strangers(KID, &stage.world) {
        let mut answers = doors::knock(&server.url, "quire.payment.v1.PaymentService", &metadata).await;
        for (method, reason) in OPEN {
            assert!(answers.remove(method).is_some(), "{method} is gone ({reason})");
        }
        assert!(!answers.is_empty());
        for (method, code) in answers {
            assert_eq!(code, Code::Unauthenticated, "{method} for {who}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_genuine_token_of_an_ended_session_is_refused() {
    let stage = Stage::new(Backend::Sqlite).await;
    let server = stage.start().await;
    let request = stage.as_user(SIGNED_OUT, pb::ListOrdersRequest::default());
    let fault = Fault::from(&server.client.clone().list_orders(request).await.unwrap_err());
    assert_eq!(fault.reason, "SESSION_ENDED");
}
