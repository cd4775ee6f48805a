//! Every method is shut to whoever is nobody.

use quire_testkit::{Backend, doors};
use tonic::Code;

use crate::house::{House, KEY_ID};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_method_lets_a_stranger_in() {
    let house = House::open(Backend::Sqlite).await;
    for (who, metadata) in doors::strangers(KEY_ID, &house.world) {
        let answers = doors::knock(&house.url, "quire.document.v1.DocumentService", &metadata).await;
        assert!(!answers.is_empty());
        for (method, code) in answers {
            assert_eq!(code, Code::Unauthenticated, "{method} for {who}");
        }
    }
}
