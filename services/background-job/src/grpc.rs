//! The gRPC face of the jobs: decode, call, encode.

mod convert;

use std::pin::Pin;

use futures::{Stream, StreamExt};
use quire_fault::log_internal;
use quire_identity::Gatekeeper;
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::job_service_server::JobService;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::cancel::{self, Why};
use crate::error::JobError;
use crate::events;
use crate::order_jobs;
use crate::peers::Documents;
use crate::query::{self, Listing};
use crate::start::{self, NewJob};
use crate::store::Store;
use crate::watch;

/// Who may start, look up and stop the jobs of orders.
const PAYMENT: &[&str] = &["payment"];

pub struct Grpc {
    pub store: Store,
    pub documents: Documents,
    pub gatekeeper: Gatekeeper,
    /// Ends open streams.
    pub shutdown: CancellationToken,
}

#[tonic::async_trait]
impl JobService for Grpc {
    async fn start_job(
        &self,
        request: Request<pb::StartJobRequest>,
    ) -> Result<Response<pb::StartJobResponse>, Status> {
        self.gatekeeper.service(request.metadata(), PAYMENT)?;
        let new = NewJob::from(request.into_inner()).check()?;
        let (job_id, created) = start::start(&self.store, new).await.map_err(JobError::from)?;
        Ok(Response::new(pb::StartJobResponse { job_id, created }))
    }

    async fn generate_full_document(
        &self,
        request: Request<pb::GenerateFullDocumentRequest>,
    ) -> Result<Response<pb::GenerateFullDocumentResponse>, Status> {
        let caller = self.gatekeeper.user(request.metadata()).await?;
        let document_id = &request.get_ref().document_id;
        let job = start::generate(&self.store, &self.documents, &caller, document_id).await?;
        Ok(Response::new(pb::GenerateFullDocumentResponse { job: Some(job.into()) }))
    }

    async fn get_job(
        &self,
        request: Request<pb::GetJobRequest>,
    ) -> Result<Response<pb::GetJobResponse>, Status> {
        let caller = self.gatekeeper.user(request.metadata()).await?;
        let job = query::get(&self.store, &caller, &request.get_ref().job_id).await?;
        Ok(Response::new(pb::GetJobResponse { job: Some(job.into()) }))
    }

    async fn list_jobs(
        &self,
        request: Request<pb::ListJobsRequest>,
    ) -> Result<Response<pb::ListJobsResponse>, Status> {
        let caller = self.gatekeeper.user(request.metadata()).await?;
        let request = request.get_ref();
        let listing = Listing {
            page_size: request.page_size,
            page_token: &request.page_token,
            document_id: &request.document_id,
        };
        let page = query::list(&self.store, &caller, listing).await?;
        let jobs = page.jobs.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListJobsResponse { jobs, next_page_token: page.next_page_token }))
    }

    async fn cancel_job(
        &self,
        request: Request<pb::CancelJobRequest>,
    ) -> Result<Response<pb::CancelJobResponse>, Status> {
        let caller = self.gatekeeper.user(request.metadata()).await?;
        let job = query::get(&self.store, &caller, &request.get_ref().job_id).await?;
        let job = cancel::cancel(&self.store, &job.id, Why::Unwanted).await?;
        Ok(Response::new(pb::CancelJobResponse { job: Some(job.into()) }))
    }

    type WatchJobStream = Pin<Box<dyn Stream<Item = Result<pb::WatchJobResponse, Status>> + Send>>;

    async fn watch_job(
        &self,
        request: Request<pb::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let caller = self.gatekeeper.user(request.metadata()).await?;
        let request = request.get_ref();
        let job = query::get(&self.store, &caller, &request.job_id).await?;
        let events = events::watch(self.store.clone(), job.id, request.after_seq, self.shutdown.clone());
        let answers = events.map(|event| match event {
            Ok(event) => Ok(pb::WatchJobResponse { event: Some(event.into()) }),
            Err(error) => {
                log_internal("background-job", &error);
                Err(Status::unavailable("the events cannot be read right now"))
            }
        });
        // A stream is authorised once and may stay open for hours.
        let gatekeeper = self.gatekeeper.clone();
        let ended = async move { gatekeeper.until_ended(&caller).await };
        Ok(Response::new(Box::pin(watch::until_ended(answers, ended))))
    }

    async fn find_order_jobs(
        &self,
        request: Request<pb::FindOrderJobsRequest>,
    ) -> Result<Response<pb::FindOrderJobsResponse>, Status> {
        self.gatekeeper.service(request.metadata(), PAYMENT)?;
        let jobs = order_jobs::find(&self.store, &request.get_ref().order_ids).await?;
        let jobs = jobs.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::FindOrderJobsResponse { jobs }))
    }

    async fn list_order_jobs(
        &self,
        request: Request<pb::ListOrderJobsRequest>,
    ) -> Result<Response<pb::ListOrderJobsResponse>, Status> {
        self.gatekeeper.service(request.metadata(), PAYMENT)?;
        let request = request.get_ref();
        let jobs = order_jobs::list(&self.store, &request.after_order_id, request.page_size).await?;
        let jobs = jobs.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListOrderJobsResponse { jobs }))
    }

    async fn cancel_order_job(
        &self,
        request: Request<pb::CancelOrderJobRequest>,
    ) -> Result<Response<pb::CancelOrderJobResponse>, Status> {
        self.gatekeeper.service(request.metadata(), PAYMENT)?;
        let job = order_jobs::cancel(&self.store, &request.get_ref().order_id).await?;
        Ok(Response::new(pb::CancelOrderJobResponse { job: Some(job.into()) }))
    }
}
