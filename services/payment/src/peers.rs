//! Calls to the document and the job service.

use std::time::Duration;

use quire_fault::{Fault, Kind};
use quire_identity::ServiceIdentity;
use quire_proto::document::v1 as document;
use quire_proto::document::v1::document_service_client::DocumentServiceClient;
use quire_proto::job::v1 as job;
use quire_proto::job::v1::job_service_client::JobServiceClient;
use quire_serve::client::outgoing;
use tonic::transport::Channel;
use tracing::Instrument;

const DEADLINE: Duration = Duration::from_secs(10);

/// The other services, called in payment's name. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    documents: DocumentServiceClient<Channel>,
    jobs: JobServiceClient<Channel>,
    identity: ServiceIdentity,
}

impl Peers {
    pub(crate) fn new(documents: Channel, jobs: Channel, identity: ServiceIdentity) -> Self {
        Self { documents: DocumentServiceClient::new(documents), jobs: JobServiceClient::new(jobs), identity }
    }

    /// Checks that a document can be ordered by a user, and keeps it from being changed.
    ///
    /// # Errors
    /// The document service's own fault, unchanged.
    pub(crate) async fn prepare_order(
        &self,
        document_id: &str,
        user_id: &str,
    ) -> Result<document::Document, Fault> {
        let message = document::PrepareOrderRequest {
            document_id: document_id.to_owned(),
            user_id: user_id.to_owned(),
        };
        let request = self.signed(message);
        let mut client = self.documents.clone();
        let answer = client.prepare_order(request);
        let answer = answer.instrument(span("PrepareOrder")).await.map_err(|status| Fault::from(&status))?;
        answer.into_inner().document.ok_or_else(Fault::internal)
    }

    /// Lets a document be changed again. One that is gone needs no release.
    ///
    /// # Errors
    /// The document service's own fault.
    pub(crate) async fn release_order(&self, document_id: &str) -> Result<(), Fault> {
        let message = document::ReleaseOrderRequest { document_id: document_id.to_owned() };
        let request = self.signed(message);
        let mut client = self.documents.clone();
        let answer = client.release_order(request).instrument(span("ReleaseOrder")).await;
        match answer.map_err(|status| Fault::from(&status)) {
            Ok(_) => Ok(()),
            Err(fault) if fault.kind == Kind::NotFound => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Starts the job of a paid order, or finds the one that was started. Answers its id.
    ///
    /// # Errors
    /// The job service's own fault.
    pub(crate) async fn start_job(&self, message: job::StartJobRequest) -> Result<String, Fault> {
        let request = self.signed(message);
        let mut client = self.jobs.clone();
        let answer = client.start_job(request);
        let answer = answer.instrument(span("StartJob")).await.map_err(|status| Fault::from(&status))?;
        Ok(answer.into_inner().job_id)
    }

    /// Stops the job of an order, if it has one that is not done.
    ///
    /// # Errors
    /// The job service's own fault: NOT_FOUND when the order has no job.
    pub(crate) async fn cancel_order_job(&self, order_id: &str) -> Result<(), Fault> {
        let request = self.signed(job::CancelOrderJobRequest { order_id: order_id.to_owned() });
        let mut client = self.jobs.clone();
        let answer = client.cancel_order_job(request).instrument(span("CancelOrderJob")).await;
        answer.map(drop).map_err(|status| Fault::from(&status))
    }

    /// The jobs of those orders that have one; at most 500 orders.
    ///
    /// # Errors
    /// The job service's own fault.
    pub(crate) async fn find_order_jobs(&self, order_ids: Vec<String>) -> Result<Vec<job::OrderJob>, Fault> {
        let request = self.signed(job::FindOrderJobsRequest { order_ids });
        let mut client = self.jobs.clone();
        let answer = client.find_order_jobs(request).instrument(span("FindOrderJobs")).await;
        answer.map(|answer| answer.into_inner().jobs).map_err(|status| Fault::from(&status))
    }

    /// Up to `size` jobs with orders, in the order of their order ids, after one of these.
    ///
    /// # Errors
    /// The job service's own fault.
    pub(crate) async fn list_order_jobs(
        &self,
        after_order_id: &str,
        size: i32,
    ) -> Result<Vec<job::OrderJob>, Fault> {
        let message =
            job::ListOrderJobsRequest { after_order_id: after_order_id.to_owned(), page_size: size };
        let request = self.signed(message);
        let mut client = self.jobs.clone();
        let answer = client.list_order_jobs(request).instrument(span("ListOrderJobs")).await;
        answer.map(|answer| answer.into_inner().jobs).map_err(|status| Fault::from(&status))
    }

    fn signed<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = outgoing(message, DEADLINE);
        self.identity.authorize(&mut request);
        request
    }
}

fn span(call: &'static str) -> tracing::Span {
    tracing::info_span!("peer", otel.kind = "client", call)
}
