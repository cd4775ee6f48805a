//! What payment asks about the jobs of orders.

use quire_clock::World;
use quire_fault::Fault;
use quire_proto::document::v1::DocumentStatus;
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::JobStatus;
use quire_proto::payment::v1::JobOutcome;
use quire_testkit::Backend;
use tonic::{Code, Request, Status};

use crate::stage::{DOCUMENT, ORDER, Service, Stage, as_payment, assert_whole};

quire_testkit::on_both_databases!(
    only_payment_asks_about_the_jobs_of_orders,
    the_jobs_of_orders_are_found_for_those_that_have_one,
    five_hundred_orders_may_be_asked_for,
    the_jobs_of_all_orders_are_listed_by_order,
    a_list_refuses_what_it_cannot_read,
    a_refunded_job_that_waits_ends_at_once,
    a_refund_leaves_a_delivered_job_alone,
    an_order_without_a_job_has_nothing_to_cancel,
);

/// Workers that take nothing.
async fn idle(stage: &Stage) -> Service {
    stage.start_with(World::system(), |config| config.concurrency = 0).await
}

async fn find(service: &mut Service, order_ids: Vec<String>) -> Result<Vec<pb::OrderJob>, Status> {
    let request = as_payment(pb::FindOrderJobsRequest { order_ids });
    Ok(service.client.find_order_jobs(request).await?.into_inner().jobs)
}

async fn list(
    service: &mut Service,
    after_order_id: &str,
    page_size: i32,
) -> Result<Vec<pb::OrderJob>, Status> {
    let after_order_id = after_order_id.to_owned();
    let request = as_payment(pb::ListOrderJobsRequest { after_order_id, page_size });
    Ok(service.client.list_order_jobs(request).await?.into_inner().jobs)
}

fn orders(jobs: &[pb::OrderJob]) -> Vec<&str> {
    jobs.iter().map(|job| job.order_id.as_str()).collect()
}

fn fields(refused: Result<impl Sized, Status>) -> Vec<String> {
    let Err(status) = refused else { panic!("accepted") };
    assert_eq!(status.code(), Code::InvalidArgument);
    Fault::from(&status).violations.into_iter().map(|violation| violation.field).collect()
}

async fn only_payment_asks_about_the_jobs_of_orders(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let service = idle(&stage).await;
    let client = || service.client.clone();
    let mut request = Request::new(pb::FindOrderJobsRequest::default());
    stage.sign("gateway", &mut request);
    assert_eq!(client().find_order_jobs(request).await.unwrap_err().code(), Code::PermissionDenied);
    let mut request = Request::new(pb::ListOrderJobsRequest::default());
    stage.sign("gateway", &mut request);
    assert_eq!(client().list_order_jobs(request).await.unwrap_err().code(), Code::PermissionDenied);
    let mut request = Request::new(pb::CancelOrderJobRequest::default());
    stage.sign("gateway", &mut request);
    assert_eq!(client().cancel_order_job(request).await.unwrap_err().code(), Code::PermissionDenied);
    let admin = service.as_admin(pb::CancelOrderJobRequest::default());
    assert_eq!(client().cancel_order_job(admin).await.unwrap_err().code(), Code::Unauthenticated);
}

async fn the_jobs_of_orders_are_found_for_those_that_have_one(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.events(&job_id, 0).await;
    let counted = service.job(&job_id).await.counted_pages;
    assert!(counted > 0);
    let asked = [ORDER, "no-such-order", ORDER, "", "a\0b"].map(str::to_owned).to_vec();
    let expected = pb::OrderJob {
        order_id: ORDER.to_owned(),
        job_id,
        status: JobStatus::Completed.into(),
        delivered_pages: counted,
    };
    assert_eq!(find(&mut service, asked).await.unwrap(), [expected]);
    assert_eq!(find(&mut service, Vec::new()).await.unwrap(), []);
}

async fn five_hundred_orders_may_be_asked_for(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = idle(&stage).await;
    service.start_order("order-499", DOCUMENT, 6).await.unwrap();
    let ids = |count: usize| (0..count).map(|number| format!("order-{number}")).collect::<Vec<_>>();
    assert_eq!(orders(&find(&mut service, ids(500)).await.unwrap()), ["order-499"]);
    assert_eq!(fields(find(&mut service, ids(501)).await), ["order_ids"]);
}

async fn the_jobs_of_all_orders_are_listed_by_order(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = idle(&stage).await;
    for number in [3, 1, 4, 0, 2] {
        let order = format!("order-{number}");
        service.start_order(&order, &format!("document-{number}"), 6).await.unwrap();
    }
    // An operator's job has no order.
    let request = service.as_admin(pb::GenerateFullDocumentRequest { document_id: "document-9".to_owned() });
    service.client.generate_full_document(request).await.unwrap();

    let all = list(&mut service, "", 0).await.unwrap();
    assert_eq!(orders(&all), ["order-0", "order-1", "order-2", "order-3", "order-4"]);
    assert!(all.iter().all(|job| job.status() == JobStatus::Queued && job.delivered_pages == 0), "{all:?}");
    let mut paged = Vec::new();
    let mut after = String::new();
    loop {
        let page = list(&mut service, &after, 2).await.unwrap();
        assert!(page.len() <= 2);
        let full = page.len() == 2;
        paged.extend(page);
        if !full {
            break;
        }
        after.clone_from(&paged.last().unwrap().order_id);
    }
    assert_eq!(paged, all);
    assert_eq!(list(&mut service, "order-4", 500).await.unwrap(), []);
}

async fn a_list_refuses_what_it_cannot_read(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = idle(&stage).await;
    for size in [-1, 501] {
        assert_eq!(fields(list(&mut service, "", size).await), ["page_size"]);
    }
    for text in ["a\0b", &"x".repeat(101)] {
        assert_eq!(fields(list(&mut service, text, 0).await), ["after_order_id"]);
    }
}

async fn a_refunded_job_that_waits_ends_at_once(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = idle(&stage).await;
    let job_id = service.start_paid().await;
    // As an attempt leaves it that finished two sections and waits for the third.
    stage.change_jobs("sections_done = 2, sections_total = 4, step = 'section'").await;
    let job = service.cancel(&job_id).await;
    assert_eq!(job.status(), JobStatus::Queued, "its owner gets what is finished");
    assert_eq!(service.cancel(&job_id).await, job);
    let refunded = service.cancel_order(ORDER).await.unwrap();
    assert_eq!((refunded.status(), refunded.delivered_pages), (JobStatus::Cancelled, 0));
    assert_eq!(service.cancel_order(ORDER).await.unwrap(), refunded);
    assert_whole(&service.events(&job_id, 0).await, 1, "cancelled");
    let settled = stage.payment.wait_settled(1).await;
    assert_eq!((settled[0].outcome(), settled[0].delivered_pages), (JobOutcome::Cancelled, 0));
    assert_eq!(stage.document.wait_reported(DocumentStatus::Cancelled).await, 0);
}

async fn a_refund_leaves_a_delivered_job_alone(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = stage.start().await;
    let job_id = service.start_paid().await;
    service.events(&job_id, 0).await;
    let before = service.job(&job_id).await;
    let job = service.cancel_order(ORDER).await.unwrap();
    assert_eq!((job.status(), job.delivered_pages), (JobStatus::Completed, before.counted_pages));
    assert_eq!(service.job(&job_id).await, before);
}

async fn an_order_without_a_job_has_nothing_to_cancel(backend: Backend) {
    let stage = Stage::digest(backend).await;
    let mut service = idle(&stage).await;
    for order_id in [ORDER, "", "a\0b"] {
        let refused = service.cancel_order(order_id).await.unwrap_err();
        assert_eq!(
            (refused.code(), Fault::from(&refused).reason.as_str()),
            (Code::NotFound, "JOB_NOT_FOUND"),
            "{order_id:?}"
        );
    }
}
