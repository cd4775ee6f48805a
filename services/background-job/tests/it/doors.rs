//! Every method is shut to whoever is nobody.

use quire_clock::World;
use quire_testkit::{Backend, doors};
use tonic::Code;

use crate::keys::KID;
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_method_lets_a_stranger_in() {
    let stage = Stage::digest(Backend::Sqlite).await;
    let service = stage.start().await;
    for (who, metadata) in doors::strangers(KID, &World::system()) {
        let answers = doors::knock(&service.url, "quire.job.v1.JobService", &metadata).await;
        assert!(!answers.is_empty());
        for (method, code) in answers {
            assert_eq!(code, Code::Unauthenticated, "{method} for {who}");
        }
    }
}
