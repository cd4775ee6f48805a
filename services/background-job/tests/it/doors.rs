//! Every method is shut to whoever is nobody.

use quire_clock::World;
use quire_proto::job::v1 as pb;
use quire_testkit::{Backend, doors};
use tonic::{Code, Request};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_service_passes_for_the_operator() {
    let stage = Stage::digest(Backend::Sqlite).await;
    let service = stage.start().await;
    for name in ["gateway", "payment"] {
        let client = || service.client.clone();
        let codes = [
            client().list_jobs(signed(&stage, name, pb::ListJobsRequest::default())).await.err(),
            client().pause_job(signed(&stage, name, pb::PauseJobRequest::default())).await.err(),
            client().retry_job(signed(&stage, name, pb::RetryJobRequest::default())).await.err(),
            client().replay_job(signed(&stage, name, pb::ReplayJobRequest::default())).await.err(),
            client().set_job_priority(signed(&stage, name, pb::SetJobPriorityRequest::default())).await.err(),
            client().get_job_timeline(signed(&stage, name, pb::GetJobTimelineRequest::default())).await.err(),
            client()
                .list_dead_letters(signed(&stage, name, pb::ListDeadLettersRequest::default()))
                .await
                .err(),
            client()
                .redrive_dead_letter(signed(&stage, name, pb::RedriveDeadLetterRequest::default()))
                .await
                .err(),
        ];
        assert_eq!(codes.map(|status| status.map(|status| status.code())), [Some(Code::Unauthenticated); 8]);
    }
}

fn signed<T>(stage: &Stage, name: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    stage.sign(name, &mut request);
    request
}
