//! The gRPC face of the jobs: decode, call, encode.

mod convert;

use std::pin::Pin;

use futures::{Stream, StreamExt};
use quire_fault::{Fault, log_internal};
use quire_identity::Gatekeeper;
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::job_service_server::JobService;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::approve;
use crate::attempt::Tools;
use crate::cancel::{self, Why};
use crate::dead_letters;
use crate::error::JobError;
use crate::follow::Feeds;
use crate::forecast::measure;
use crate::money::estimate;
use crate::order_jobs;
use crate::outline_jobs;
use crate::pause;
use crate::peers::Documents;
use crate::priority;
use crate::query::{self, Caller, Listing};
use crate::redo;
use crate::replay;
use crate::start::{self, NewJob};
use crate::store::Store;
use crate::timeline;
use crate::watch;
use crate::writers::Offered;

/// Who may start, look up and stop the jobs of orders.
const PAYMENT: &[&str] = &["payment"];
/// The operator's own name, for commands at a terminal.
const OPERATORS: &[&str] = &["operator"];

pub struct Grpc {
    pub store: Store,
    pub documents: Documents,
    pub offered: Vec<Offered>,
    pub outlines_per_day: u32,
    /// For jobs that are written once more.
    pub tools: Tools,
    pub gatekeeper: Gatekeeper,
    pub feeds: Feeds,
    /// Ends open streams.
    pub shutdown: CancellationToken,
}

impl Grpc {
    /// A user, an administrator, or the operator at a terminal.
    async fn caller(&self, metadata: &MetadataMap) -> Result<Caller, Fault> {
        if self.gatekeeper.service(metadata, OPERATORS).is_ok() {
            return Ok(Caller::Operator);
        }
        Ok(self.gatekeeper.user(metadata).await?.into())
    }

    /// An administrator, or the operator at a terminal.
    async fn operator(&self, metadata: &MetadataMap) -> Result<(), Fault> {
        if self.gatekeeper.service(metadata, OPERATORS).is_ok() {
            return Ok(());
        }
        self.gatekeeper.admin(metadata).await.map(|_| ())
    }
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
        let caller = self.gatekeeper.user(request.metadata()).await?.into();
        let document_id = &request.get_ref().document_id;
        let job = start::generate(&self.store, &self.documents, &caller, document_id).await?;
        Ok(Response::new(pb::GenerateFullDocumentResponse { job: Some(job.into()) }))
    }

    async fn generate_outline(
        &self,
        request: Request<pb::GenerateOutlineRequest>,
    ) -> Result<Response<pb::GenerateOutlineResponse>, Status> {
        let caller = self.caller(request.metadata()).await?;
        let document_id = &request.get_ref().document_id;
        let per_day = self.outlines_per_day;
        let job = outline_jobs::ask(&self.store, &self.documents, &caller, document_id, per_day).await?;
        Ok(Response::new(pb::GenerateOutlineResponse { job: Some(job.into()) }))
    }

    async fn get_job(
        &self,
        request: Request<pb::GetJobRequest>,
    ) -> Result<Response<pb::GetJobResponse>, Status> {
        let caller = self.caller(request.metadata()).await?;
        let job = query::get(&self.store, &caller, &request.get_ref().job_id).await?;
        let forecast = measure::of_job(&self.store, &job, &self.offered).await.map_err(JobError::from)?;
        let job = pb::Job { forecast: forecast.map(Into::into), ..job.into() };
        Ok(Response::new(pb::GetJobResponse { job: Some(job) }))
    }

    async fn list_jobs(
        &self,
        request: Request<pb::ListJobsRequest>,
    ) -> Result<Response<pb::ListJobsResponse>, Status> {
        let caller = self.caller(request.metadata()).await?;
        let request = request.get_ref();
        let listing = Listing {
            page_size: request.page_size,
            page_token: &request.page_token,
            document_id: &request.document_id,
            status: convert::status(request.status()),
        };
        let page = query::list(&self.store, &caller, listing).await?;
        let jobs = page.jobs.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListJobsResponse { jobs, next_page_token: page.next_page_token }))
    }

    async fn cancel_job(
        &self,
        request: Request<pb::CancelJobRequest>,
    ) -> Result<Response<pb::CancelJobResponse>, Status> {
        let caller = self.caller(request.metadata()).await?;
        let job = query::get(&self.store, &caller, &request.get_ref().job_id).await?;
        let job = cancel::cancel(&self.store, &job.id, Why::Unwanted).await?;
        Ok(Response::new(pb::CancelJobResponse { job: Some(job.into()) }))
    }

    async fn pause_job(
        &self,
        request: Request<pb::PauseJobRequest>,
    ) -> Result<Response<pb::PauseJobResponse>, Status> {
        let caller = self.caller(request.metadata()).await?;
        let job = query::get(&self.store, &caller, &request.get_ref().job_id).await?;
        let job = pause::pause(&self.store, &caller, &job.id).await?;
        Ok(Response::new(pb::PauseJobResponse { job: Some(job.into()) }))
    }

    async fn resume_job(
        &self,
        request: Request<pb::ResumeJobRequest>,
    ) -> Result<Response<pb::ResumeJobResponse>, Status> {
        let caller = self.caller(request.metadata()).await?;
        let job = query::get(&self.store, &caller, &request.get_ref().job_id).await?;
        let job = pause::resume(&self.store, &caller, &job.id).await?;
        Ok(Response::new(pb::ResumeJobResponse { job: Some(job.into()) }))
    }

    async fn approve_outline(
        &self,
        request: Request<pb::ApproveOutlineRequest>,
    ) -> Result<Response<pb::ApproveOutlineResponse>, Status> {
        let caller = self.caller(request.metadata()).await?;
        let document_id = &request.get_ref().document_id;
        let job = approve::of_document(&self.store, &self.documents, &caller, document_id).await?;
        Ok(Response::new(pb::ApproveOutlineResponse { job: Some(job.into()) }))
    }

    async fn set_job_priority(
        &self,
        request: Request<pb::SetJobPriorityRequest>,
    ) -> Result<Response<pb::SetJobPriorityResponse>, Status> {
        self.operator(request.metadata()).await?;
        let request = request.get_ref();
        let job = query::get(&self.store, &Caller::Operator, &request.job_id).await?;
        let job = priority::set(&self.store, &job.id, request.priority).await?;
        Ok(Response::new(pb::SetJobPriorityResponse { job: Some(job.into()) }))
    }

    async fn retry_job(
        &self,
        request: Request<pb::RetryJobRequest>,
    ) -> Result<Response<pb::RetryJobResponse>, Status> {
        self.operator(request.metadata()).await?;
        let job = redo::retry(&self.store, &request.get_ref().job_id).await?;
        Ok(Response::new(pb::RetryJobResponse { job: Some(job.into()) }))
    }

    async fn replay_job(
        &self,
        request: Request<pb::ReplayJobRequest>,
    ) -> Result<Response<pb::ReplayJobResponse>, Status> {
        self.operator(request.metadata()).await?;
        let pb::ReplayJobRequest { job_id, with_markdown } = request.get_ref();
        let mut answer = pb::ReplayJobResponse::from(replay::replay(&self.tools, job_id).await?);
        if !with_markdown {
            answer.markdown.clear();
        }
        Ok(Response::new(answer))
    }

    async fn get_job_timeline(
        &self,
        request: Request<pb::GetJobTimelineRequest>,
    ) -> Result<Response<pb::GetJobTimelineResponse>, Status> {
        self.operator(request.metadata()).await?;
        let timeline = timeline::of(&self.store, &request.get_ref().job_id).await?;
        Ok(Response::new(timeline.into()))
    }

    async fn list_dead_letters(
        &self,
        request: Request<pb::ListDeadLettersRequest>,
    ) -> Result<Response<pb::ListDeadLettersResponse>, Status> {
        self.operator(request.metadata()).await?;
        let letters = dead_letters::list(&self.store).await?;
        let dead_letters = letters.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListDeadLettersResponse { dead_letters }))
    }

    async fn redrive_dead_letter(
        &self,
        request: Request<pb::RedriveDeadLetterRequest>,
    ) -> Result<Response<pb::RedriveDeadLetterResponse>, Status> {
        self.operator(request.metadata()).await?;
        let request = request.get_ref();
        let redriven = dead_letters::redrive(&self.store, &request.job_id, &request.kind).await?;
        Ok(Response::new(pb::RedriveDeadLetterResponse { redriven }))
    }

    type WatchJobStream = Pin<Box<dyn Stream<Item = Result<pb::WatchJobResponse, Status>> + Send>>;

    async fn watch_job(
        &self,
        request: Request<pb::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let caller = self.gatekeeper.user(request.metadata()).await?;
        let request = request.get_ref();
        let job = query::get(&self.store, &caller.clone().into(), &request.job_id).await?;
        let shutdown = self.shutdown.clone();
        let events = self.feeds.follow(self.store.clone(), job.id, request.after_seq, shutdown);
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

    async fn list_models(
        &self,
        request: Request<pb::ListModelsRequest>,
    ) -> Result<Response<pb::ListModelsResponse>, Status> {
        self.gatekeeper.user(request.metadata()).await?;
        Ok(Response::new(pb::ListModelsResponse { models: self.offered.iter().map(Into::into).collect() }))
    }

    async fn estimate_cost(
        &self,
        request: Request<pb::EstimateCostRequest>,
    ) -> Result<Response<pb::EstimateCostResponse>, Status> {
        self.gatekeeper.user(request.metadata()).await?;
        let pb::EstimateCostRequest { pages, writer } = request.get_ref();
        let (offered, estimate) = estimate::estimate(&self.store, &self.offered, (writer, *pages)).await?;
        Ok(Response::new(pb::EstimateCostResponse {
            pages: *pages,
            model: Some(offered.into()),
            input_tokens: estimate.usage.input_tokens,
            output_tokens: estimate.usage.output_tokens,
            cost_micro: estimate.cost_micro,
            measured_jobs: estimate.measured_jobs,
        }))
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
