//! Who may not come in.

use quire_testkit::{Backend, doors};
use tonic::Code;

use crate::harness::{Auth, Place};

/// Methods that need no credentials, why, and what an empty message gets.
const OPEN: [(&str, &str, Code); 4] = [
    ("RequestMagicLink", "whoever signs in has no credentials yet", Code::InvalidArgument),
    ("VerifyMagicLink", "the link and its verifier are the credentials", Code::Unauthenticated),
    ("RefreshSession", "the refresh token is the credential", Code::Unauthenticated),
    ("ListSigningKeys", "public keys are public", Code::Ok),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_method_lets_a_stranger_in() {
    let place = Place::new(Backend::Sqlite).await;
    let auth = Auth::start(&place).await;
    let kid = auth.keys().await.remove(0).kid;
    for (who, metadata) in doors::strangers(&kid, &place.world()) {
        let mut answers = doors::knock(&auth.address, "quire.auth.v1.AuthService", &metadata).await;
        for (method, reason, code) in OPEN {
            assert_eq!(answers.remove(method), Some(code), "{method} ({reason})");
        }
        assert!(answers.len() > 10, "{answers:?}");
        for (method, code) in answers {
            assert_eq!(code, Code::Unauthenticated, "{method} for {who}");
        }
    }
    auth.stop().await;
}
