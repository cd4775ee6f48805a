//! Who may start which job, and that one order has one job.

use std::collections::HashSet;

use futures::future::join_all;
use quire_proto::job::v1 as pb;
use quire_testkit::Backend;
use tonic::{Code, Request};

use crate::stage::{DOCUMENT, ORDER, OWNER, Stage};

quire_testkit::on_both_databases!(
    fifty_starts_of_one_order_give_one_job,
    only_payment_starts_the_job_of_an_order,
    a_bad_start_reports_every_broken_rule,
    the_whole_document_is_generated_only_when_it_is_paid,
    an_operator_starts_a_job_without_an_order,
    somebody_elses_job_is_not_found,
    a_list_is_paged_newest_first,
);

async fn fifty_starts_of_one_order_give_one_job(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start_with(quire_clock::World::system(), |config| config.concurrency = 0).await;
    service.start_order("another", "another", 6).await.unwrap();
    let starts = (0..50).map(|_| {
        let mut client = service.client.clone();
        let mut request = Request::new(pb::StartJobRequest {
            order_id: ORDER.to_owned(),
            document_id: DOCUMENT.to_owned(),
            user_id: OWNER.to_owned(),
            pages: 6,
        });
        stage.sign("payment", &mut request);
        async move { client.start_job(request).await.unwrap().into_inner() }
    });
    let answers = join_all(starts).await;
    let ids: HashSet<&str> = answers.iter().map(|answer| answer.job_id.as_str()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1);
    let job = service.job(&answers[0].job_id).await;
    assert_eq!((job.status(), job.last_seq, job.order_id.as_str()), (pb::JobStatus::Queued, 1, ORDER));
}

async fn only_payment_starts_the_job_of_an_order(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start().await;
    let message = pb::StartJobRequest { order_id: ORDER.to_owned(), ..Default::default() };
    let nobody = service.client.start_job(Request::new(message.clone())).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let mut request = Request::new(message.clone());
    stage.sign("gateway", &mut request);
    assert_eq!(service.client.start_job(request).await.unwrap_err().code(), Code::PermissionDenied);
    let user = service.as_admin(message);
    assert_eq!(service.client.start_job(user).await.unwrap_err().code(), Code::Unauthenticated);
}

async fn a_bad_start_reports_every_broken_rule(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start().await;
    let refused = service.start_order("", "", 0).await.unwrap_err();
    let fields: Vec<_> =
        quire_fault::Fault::from(&refused).violations.into_iter().map(|rule| rule.field).collect();
    assert_eq!(fields, ["order_id", "document_id", "pages"]);
}

async fn the_whole_document_is_generated_only_when_it_is_paid(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start_with(quire_clock::World::system(), |config| config.concurrency = 0).await;
    let ask = || pb::GenerateFullDocumentRequest { document_id: DOCUMENT.to_owned() };
    let request = service.as_user(OWNER, ask());
    let refused = service.client.generate_full_document(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(quire_fault::Fault::from(&refused).reason, "PAYMENT_REQUIRED");

    let id = service.start_paid().await;
    let request = service.as_user(OWNER, ask());
    let job = service.client.generate_full_document(request).await.unwrap().into_inner().job.unwrap();
    assert_eq!(job.id, id);
    let request = service.as_user("stranger", ask());
    let refused = service.client.generate_full_document(request).await.unwrap_err();
    assert_eq!(quire_fault::Fault::from(&refused).reason, "PAYMENT_REQUIRED");
    // The order of a cancelled job is refunded.
    service.cancel(&id).await;
    let request = service.as_user(OWNER, ask());
    assert!(service.client.generate_full_document(request).await.is_err());
}

async fn an_operator_starts_a_job_without_an_order(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start().await;
    let ask = || pb::GenerateFullDocumentRequest { document_id: DOCUMENT.to_owned() };
    let requests = [service.as_admin(ask()), service.as_admin(ask()), service.as_admin(ask())];
    let calls = requests.map(|request| {
        let mut client = service.client.clone();
        async move { client.generate_full_document(request).await.unwrap().into_inner().job.unwrap() }
    });
    let jobs = join_all(calls).await;
    let first = &jobs[0];
    assert_eq!((first.order_id.as_str(), first.user_id.as_str()), ("", OWNER));
    let events = service.events(&first.id, 0).await;
    assert_eq!(events.last().unwrap().kind, "completed");
    assert_eq!(stage.payment.settled(), []);
}

async fn somebody_elses_job_is_not_found(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start_with(quire_clock::World::system(), |config| config.concurrency = 0).await;
    let job_id = service.start_paid().await;
    let get = || pb::GetJobRequest { job_id: job_id.clone() };
    let request = service.as_user("stranger", get());
    let refused = service.client.get_job(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), quire_fault::Fault::from(&refused).reason.as_str()),
        (Code::NotFound, "JOB_NOT_FOUND")
    );
    let request = service.as_user("stranger", pb::CancelJobRequest { job_id: job_id.clone() });
    assert_eq!(service.client.cancel_job(request).await.unwrap_err().code(), Code::NotFound);
    let request = service.as_user("stranger", pb::WatchJobRequest { job_id: job_id.clone(), after_seq: 0 });
    assert_eq!(service.client.watch_job(request).await.unwrap_err().code(), Code::NotFound);
    let request = service.as_user("stranger", pb::ListJobsRequest::default());
    assert_eq!(service.client.list_jobs(request).await.unwrap().into_inner().jobs, []);
    let request = service.as_admin(get());
    assert_eq!(service.client.get_job(request).await.unwrap().into_inner().job.unwrap().id, job_id);
}

async fn a_list_is_paged_newest_first(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start_with(quire_clock::World::system(), |config| config.concurrency = 0).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let order = format!("order-{number}");
        ids.push(service.start_order(&order, &format!("document-{}", number % 2), 6).await.unwrap().job_id);
    }
    ids.reverse();
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = pb::ListJobsRequest { page_size: 2, page_token, ..Default::default() };
        let request = service.as_user(OWNER, message);
        let page = service.client.list_jobs(request).await.unwrap().into_inner();
        listed.extend(page.jobs.into_iter().map(|job| job.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, ids);
    let message = pb::ListJobsRequest { document_id: "document-1".to_owned(), ..Default::default() };
    let request = service.as_user(OWNER, message);
    assert_eq!(service.client.list_jobs(request).await.unwrap().into_inner().jobs.len(), 2);
    for wrong in [
        pb::ListJobsRequest { page_size: -1, ..Default::default() },
        pb::ListJobsRequest { page_token: "?".to_owned(), ..Default::default() },
    ] {
        let request = service.as_user(OWNER, wrong);
        assert_eq!(service.client.list_jobs(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
}
