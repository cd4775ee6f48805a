//! The services that payment calls, as far as it calls them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use quire_fault::Fault;
use quire_identity::{Gatekeeper, KeySource, MasterSecret, PublicKey, session_ended};
use quire_proto::auth::v1 as auth;
use quire_proto::document::v1 as document;
use quire_proto::job::v1 as job;
use quire_testkit::unary;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What the peers were asked, and how they shall answer.
#[derive(Clone, Default)]
pub struct Book {
    pub prepared: Vec<document::PrepareOrderRequest>,
    pub released: Vec<String>,
    pub started: Vec<job::StartJobRequest>,
    /// The document service's refusal.
    pub refusal: Option<Fault>,
    /// Whether the job service answers UNAVAILABLE.
    pub jobs_down: bool,
    /// The job service's rows, one for each order.
    pub jobs: BTreeMap<String, job::OrderJob>,
    /// Orders whose jobs were to be cancelled.
    pub cancelled: Vec<String>,
}

/// A shared book that can be waited on.
pub type Shared = watch::Sender<Book>;

/// Pages of every document.
pub const PAGES: i32 = 12;
/// A user whose session has ended.
pub const SIGNED_OUT: &str = "signed-out";

struct NoKeys;

#[tonic::async_trait]
impl KeySource for NoKeys {
    async fn fetch(&self) -> Result<Vec<PublicKey>, Fault> {
        Ok(Vec::new())
    }
}

/// Serves auth's key list and word on sessions, document's order calls and the start of jobs, all on one address. It
/// has no stream of revocations, so payment asks about the session at every call of a user.
pub async fn serve(
    book: Shared,
    world: quire_clock::World,
    master: &MasterSecret,
    key: auth::SigningKey,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gatekeeper = Gatekeeper::new(world, Arc::new(NoKeys), master);
    let book = Arc::new(book);
    let router = Router::new()
        .route(
            "/quire.auth.v1.AuthService/ListSigningKeys",
            unary(move |_: Request<auth::ListSigningKeysRequest>| {
                let key = key.clone();
                async move { Ok(Response::new(auth::ListSigningKeysResponse { keys: vec![key] })) }
            }),
        )
        .route("/quire.auth.v1.AuthService/CheckSession", {
            let gatekeeper = gatekeeper.clone();
            unary(move |request| check_session(gatekeeper.clone(), request))
        })
        .route("/quire.document.v1.DocumentService/PrepareOrder", {
            let (book, gatekeeper) = (book.clone(), gatekeeper.clone());
            unary(move |request| prepare(book.clone(), gatekeeper.clone(), request))
        })
        .route("/quire.document.v1.DocumentService/ReleaseOrder", {
            let (book, gatekeeper) = (book.clone(), gatekeeper.clone());
            unary(move |request| release(book.clone(), gatekeeper.clone(), request))
        })
        .route("/quire.job.v1.JobService/FindOrderJobs", {
            let (book, gatekeeper) = (book.clone(), gatekeeper.clone());
            unary(move |request| find_jobs(book.clone(), gatekeeper.clone(), request))
        })
        .route("/quire.job.v1.JobService/ListOrderJobs", {
            let (book, gatekeeper) = (book.clone(), gatekeeper.clone());
            unary(move |request| list_jobs(book.clone(), gatekeeper.clone(), request))
        })
        .route("/quire.job.v1.JobService/CancelOrderJob", {
            let (book, gatekeeper) = (book.clone(), gatekeeper.clone());
            unary(move |request| cancel_job(book.clone(), gatekeeper.clone(), request))
        })
        .route("/quire.job.v1.JobService/StartJob", {
            unary(move |request| start(book.clone(), gatekeeper.clone(), request))
        });
    let server = tonic::transport::Server::builder().add_routes(Routes::from(router));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    url
}

/// Every session is good but that of [`SIGNED_OUT`].
async fn check_session(
    gatekeeper: Gatekeeper,
    request: Request<auth::CheckSessionRequest>,
) -> Result<Response<auth::CheckSessionResponse>, Status> {
    gatekeeper.service(request.metadata(), &["payment"])?;
    if request.get_ref().user_id == SIGNED_OUT {
        return Err(session_ended().into());
    }
    Ok(Response::new(auth::CheckSessionResponse {}))
}

async fn prepare(
    book: Arc<Shared>,
    gatekeeper: Gatekeeper,
    request: Request<document::PrepareOrderRequest>,
) -> Result<Response<document::PrepareOrderResponse>, Status> {
    gatekeeper.service(request.metadata(), &["payment"])?;
    let request = request.into_inner();
    if let Some(refusal) = book.borrow().refusal.clone() {
        return Err(refusal.into());
    }
    let document = document::Document {
        id: request.document_id.clone(),
        user_id: request.user_id.clone(),
        title: "On Bees & Ärzte".to_owned(),
        target_pages: PAGES,
        language: "de".to_owned(),
        ..Default::default()
    };
    book.send_modify(|book| book.prepared.push(request));
    Ok(Response::new(document::PrepareOrderResponse { document: Some(document) }))
}

async fn release(
    book: Arc<Shared>,
    gatekeeper: Gatekeeper,
    request: Request<document::ReleaseOrderRequest>,
) -> Result<Response<document::ReleaseOrderResponse>, Status> {
    gatekeeper.service(request.metadata(), &["payment"])?;
    book.send_modify(|book| book.released.push(request.into_inner().document_id));
    Ok(Response::new(document::ReleaseOrderResponse {}))
}

async fn start(
    book: Arc<Shared>,
    gatekeeper: Gatekeeper,
    request: Request<job::StartJobRequest>,
) -> Result<Response<job::StartJobResponse>, Status> {
    gatekeeper.service(request.metadata(), &["payment"])?;
    let request = request.into_inner();
    let job_id = format!("job-of-{}", request.order_id);
    let down = book.borrow().jobs_down;
    let order_id = request.order_id.clone();
    book.send_modify(|book| book.started.push(request));
    if down {
        return Err(Status::unavailable("down"));
    }
    let row = job::OrderJob {
        order_id: order_id.clone(),
        job_id: job_id.clone(),
        status: job::JobStatus::Running.into(),
        delivered_pages: 0,
    };
    book.send_modify(|book| {
        book.jobs.entry(order_id).or_insert(row);
    });
    Ok(Response::new(job::StartJobResponse { job_id, created: true }))
}

async fn find_jobs(
    book: Arc<Shared>,
    gatekeeper: Gatekeeper,
    request: Request<job::FindOrderJobsRequest>,
) -> Result<Response<job::FindOrderJobsResponse>, Status> {
    gatekeeper.service(request.metadata(), &["payment"])?;
    let book = book.borrow();
    let jobs = request.get_ref().order_ids.iter().filter_map(|id| book.jobs.get(id).cloned()).collect();
    Ok(Response::new(job::FindOrderJobsResponse { jobs }))
}

async fn list_jobs(
    book: Arc<Shared>,
    gatekeeper: Gatekeeper,
    request: Request<job::ListOrderJobsRequest>,
) -> Result<Response<job::ListOrderJobsResponse>, Status> {
    gatekeeper.service(request.metadata(), &["payment"])?;
    let after = &request.get_ref().after_order_id;
    let size = usize::try_from(request.get_ref().page_size).unwrap();
    let book = book.borrow();
    let jobs = book.jobs.values().filter(|job| job.order_id > *after).take(size).cloned().collect();
    Ok(Response::new(job::ListOrderJobsResponse { jobs }))
}

async fn cancel_job(
    book: Arc<Shared>,
    gatekeeper: Gatekeeper,
    request: Request<job::CancelOrderJobRequest>,
) -> Result<Response<job::CancelOrderJobResponse>, Status> {
    gatekeeper.service(request.metadata(), &["payment"])?;
    let order_id = request.into_inner().order_id;
    let mut found = None;
    book.send_modify(|book| {
        book.cancelled.push(order_id.clone());
        if let Some(job) = book.jobs.get_mut(&order_id) {
            job.status = job::JobStatus::Cancelled.into();
            found = Some(job.clone());
        }
    });
    let job = Some(found.ok_or_else(|| Status::not_found("no such job"))?);
    Ok(Response::new(job::CancelOrderJobResponse { job }))
}
